//! What the vehicle sees: a small software renderer that draws first-person pictures of a road with traffic.
//!
//! Reading order: [`rig`](Rig) (where the cameras sit), [`conditions`](Conditions) (light and weather), `raster`
//! (polygons with exact pixel coverage), `bounds` (which paint a lane bound carries), `paved` (areas between lanelets,
//! cut up), `scene` (a road cut into small pieces, found by place), `ground` (the road surface of a picture), `objects`
//! with `vehicles` and `posts` (what stands on it), `order` (which of them hides which), and `render`, which puts a
//! picture together.
//!
//! Ground polygons are accumulated, not painted over each other: each layer (asphalt, white paint, ...) sums the exact
//! coverage of its polygons per pixel and is blended once. So lanelets that share a bound leave no seam, and a line that
//! is a tenth of a pixel wide far ahead still shows as a tenth of its colour.

mod bounds;
mod conditions;
mod eyes;
mod glyphs;
mod ground;
mod objects;
mod order;
mod paved;
mod posts;
mod raster;
mod render;
mod rig;
mod roadside;
mod scene;
mod vehicles;
mod view;
mod weather;

pub use conditions::{Conditions, Daylight};
pub use eyes::Eyes;
pub use render::{Moment, Renderer};
pub use rig::{CameraSpec, Rig};
pub use scene::SceneIndex;
pub use vehicles::height_m;
