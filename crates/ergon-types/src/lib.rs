//! The nouns that cross crate walls: plain data with checked constructors, no logic.

mod byte_size;
mod driving;
mod evidence;
mod message;
mod weight_format;

pub use byte_size::{ByteSize, ParseByteSizeError};
pub use driving::{
    ActorKind, ActorState, Control, Frame, GoalHint, LightColor, Observation, Trajectory, TrajectoryPoint,
    VehicleState,
};
pub use evidence::{Author, Citation, Claim, Passage, Source, Verdict};
pub use message::{FinishReason, Message, Role};
pub use weight_format::WeightFormat;
