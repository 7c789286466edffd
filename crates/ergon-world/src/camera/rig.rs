//! Where the cameras sit and how much they see.

use std::f64::consts::{FRAC_PI_2, PI};

/// One camera. The picture is a perspective one: column `u` and row `v` (pixel `i` covers `[i, i + 1)`) of a point that
/// is `forward` ahead, `left` to the left and `up` above the camera, all along the camera's own axes, are
/// `u = width/2 - fx*left/forward` and `v = height/2 - fy*up/forward` with `fx = width/2 / tan(hfov/2)`, `fy` likewise.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraSpec {
    /// What it is called in a model's configuration.
    pub name: String,
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Horizontal angle of view.
    pub hfov_rad: f64,
    /// Vertical angle of view. It need not have the same pixels per radian as the horizontal one: the low pictures
    /// stretch what is far away.
    pub vfov_rad: f64,
    /// Where it looks relative to the vehicle, left positive.
    pub yaw_rad: f64,
    /// How far it looks down.
    pub pitch_rad: f64,
    /// Ahead of the vehicle's reference point, to its left, and above the road.
    pub position_m: [f64; 3],
}

/// The cameras of a vehicle, in the order of the model's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Rig {
    /// In order.
    pub cameras: Vec<CameraSpec>,
}

/// Downward pitch that puts the horizon at a part of the picture's height from the top.
fn pitch_for_horizon(vfov_rad: f64, part: f64) -> f64 {
    ((1.0 - 2.0 * part) * (0.5 * vfov_rad).tan()).atan()
}

impl CameraSpec {
    /// Vertical angle of view that makes pixels square.
    fn square_vfov(width: usize, height: usize, hfov_rad: f64) -> f64 {
        2.0 * ((0.5 * hfov_rad).tan() * height as f64 / width as f64).atan()
    }

    /// The same camera with another number of pixels. A different ratio of width to height changes the vertical angle
    /// of view and keeps the horizon at the same part of the picture's height.
    pub fn resized(&self, width: usize, height: usize) -> CameraSpec {
        let ratio = (height as f64 / width as f64) / (self.height as f64 / self.width as f64);
        let horizon = 0.5 - 0.5 * self.pitch_rad.tan() / (0.5 * self.vfov_rad).tan();
        let vfov_rad = 2.0 * ((0.5 * self.vfov_rad).tan() * ratio).atan();
        CameraSpec {
            width,
            height,
            vfov_rad,
            pitch_rad: pitch_for_horizon(vfov_rad, horizon),
            ..self.clone()
        }
    }
}

impl Rig {
    /// The standard rig: `front` 192x96 (100 degrees, behind the windscreen, horizon at 40 % of the height), `far` 128x64 (36
    /// degrees, looking the same way, horizon at 60 %: signals and vehicles far ahead, two and a half times as large), `rear` 96x32
    /// (110 degrees, horizon at a quarter, vertically stretched so that a car 60 m behind is still two rows high), `left`
    /// and `right` 64x32 (100 degrees, at the mirrors, looking square to the side). Together they see all around.
    pub fn standard() -> Rig {
        let camera = |name: &str, [width, height]: [usize; 2], hfov_deg: f64| {
            let hfov_rad = hfov_deg.to_radians();
            let vfov_rad = CameraSpec::square_vfov(width, height, hfov_rad);
            CameraSpec {
                name: name.to_owned(),
                width,
                height,
                hfov_rad,
                vfov_rad,
                yaw_rad: 0.0,
                pitch_rad: pitch_for_horizon(vfov_rad, 0.4),
                position_m: [0.5, 0.0, 1.4],
            }
        };
        let rear_vfov_rad = 30f64.to_radians();
        let rear = CameraSpec {
            vfov_rad: rear_vfov_rad,
            pitch_rad: pitch_for_horizon(rear_vfov_rad, 0.25),
            yaw_rad: PI,
            position_m: [-2.0, 0.0, 1.4],
            ..camera("rear", [96, 32], 110.0)
        };
        let side = |name: &str, sign: f64| {
            let spec = camera(name, [64, 32], 100.0);
            CameraSpec {
                pitch_rad: pitch_for_horizon(spec.vfov_rad, 0.3),
                yaw_rad: sign * FRAC_PI_2,
                position_m: [0.5, sign * 0.85, 1.2],
                ..spec
            }
        };
        let far = camera("far", [128, 64], 36.0);
        let far = CameraSpec { pitch_rad: pitch_for_horizon(far.vfov_rad, 0.6), ..far };
        let front = camera("front", [192, 96], 100.0);
        Rig { cameras: vec![front, far, rear, side("left", 1.0), side("right", -1.0)] }
    }
}
