//! The nouns of the physical road: what a vehicle sees, is told, plans and does. SI units, radians, metres; headings are
//! counter-clockwise from the x axis of the world (or of the ego frame: x forward, y left, origin at the reference point).

use std::fmt;

/// State of a vehicle. The reference point is the centre of its box, as CommonRoad's solutions have it.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct VehicleState {
    /// Time since the start of the episode.
    pub t_s: f64,
    /// Position of the reference point.
    pub x_m: f64,
    /// Position of the reference point.
    pub y_m: f64,
    /// Direction of the vehicle.
    pub heading_rad: f64,
    /// Speed along the heading; negative when reversing.
    pub speed_mps: f64,
    /// Acceleration along the heading.
    pub acceleration_mps2: f64,
    /// Angle of the front wheels, left positive.
    pub steering_angle_rad: f64,
}

/// What the vehicle is asked to do for one control interval.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Control {
    /// Acceleration along the heading.
    pub acceleration_mps2: f64,
    /// Speed of the front wheels' angle.
    pub steering_rate_radps: f64,
}

/// One point of a planned motion.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct TrajectoryPoint {
    /// Time since the start of the episode.
    pub t_s: f64,
    /// Position of the reference point.
    pub x_m: f64,
    /// Position of the reference point.
    pub y_m: f64,
    /// Direction of the vehicle.
    pub heading_rad: f64,
    /// Speed along the heading.
    pub speed_mps: f64,
    /// Acceleration along the heading.
    pub acceleration_mps2: f64,
    /// Heading change per metre travelled, left positive.
    pub curvature_per_m: f64,
}

/// A planned motion in the world frame, points in order of time. Nothing is promised of the values: the gate checks them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Trajectory {
    /// In order of time.
    pub points: Vec<TrajectoryPoint>,
}

/// What kind of thing moves or stands in traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// A passenger car or taxi.
    Car,
    /// A lorry.
    Truck,
    /// A bus.
    Bus,
    /// A motorcycle.
    Motorcycle,
    /// A cyclist.
    Bicycle,
    /// A person on foot.
    Pedestrian,
    /// Something that never moves: a parked car is a `Car`, a barrier is this.
    Obstacle,
}

impl ActorKind {
    /// Those that drive in lanes.
    pub const VEHICLES: [ActorKind; 5] =
        [ActorKind::Car, ActorKind::Truck, ActorKind::Bus, ActorKind::Motorcycle, ActorKind::Bicycle];
}

impl fmt::Display for ActorKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            ActorKind::Car => "car",
            ActorKind::Truck => "truck",
            ActorKind::Bus => "bus",
            ActorKind::Motorcycle => "motorcycle",
            ActorKind::Bicycle => "bicycle",
            ActorKind::Pedestrian => "pedestrian",
            ActorKind::Obstacle => "obstacle",
        })
    }
}

/// Another road user at one moment: a box with a velocity, as a perception stack would give it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ActorState {
    /// The same for the same actor throughout an episode.
    pub id: u32,
    /// What it is.
    pub kind: ActorKind,
    /// Centre of the box.
    pub x_m: f64,
    /// Centre of the box.
    pub y_m: f64,
    /// Direction of the box.
    pub heading_rad: f64,
    /// Speed along the heading.
    pub speed_mps: f64,
    /// Acceleration along the heading.
    pub acceleration_mps2: f64,
    /// Extent along the heading.
    pub length_m: f64,
    /// Extent across the heading.
    pub width_m: f64,
}

/// What a traffic light shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LightColor {
    /// Stop.
    Red,
    /// About to become green.
    RedYellow,
    /// About to become red.
    Yellow,
    /// Go.
    Green,
    /// Switched off.
    Inactive,
}

/// A picture, 8-bit RGB, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Frame {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width, 3]`
    pub rgb: Vec<u8>,
}

impl Frame {
    /// A black picture.
    pub fn new(width: usize, height: usize) -> Frame {
        Frame { width, height, rgb: vec![0; width * height * 3] }
    }
}

/// Where the vehicle is to be, as a navigation system would say it; in the ego frame at the moment of observation.
/// Every part may be absent.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct GoalHint {
    /// Centre of the goal region, metres forward and left.
    pub position_m: Option<[f64; 2]>,
    /// A point of the route some 30 m ahead or more, metres forward and left: which way the road is to be taken, not
    /// where in the road to drive.
    pub route_point_m: Option<[f64; 2]>,
    /// Seconds from now in which the goal must be reached: earliest and latest; both may be negative.
    pub time_window_s: Option<[f64; 2]>,
    /// Speeds with which the goal may be reached.
    pub speed_range_mps: Option<[f64; 2]>,
    /// Direction with which the goal is to be reached, relative to the ego heading.
    pub heading_rad: Option<f64>,
}

/// All that a policy gets to see at one tick.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Observation {
    /// Time since the start of the episode.
    pub t_s: f64,
    /// One picture per camera, in the order of the model's configuration.
    pub frames: Vec<Frame>,
    /// The picture of each camera `frame_gap_s` of the model's configuration ago; at the start the same as `frames`.
    pub earlier_frames: Vec<Frame>,
    /// What the vehicle measures of itself. Policies must not read the position, which is there for the plan's frame.
    pub ego: VehicleState,
    /// What the navigation says.
    pub hint: GoalHint,
    /// What a person says, in English or Chinese.
    pub instruction: String,
}
