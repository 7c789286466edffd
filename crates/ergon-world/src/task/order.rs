//! An order over time. To change lanes or to turn is done once; then the driver is told to drive on. Whether it is done is
//! judged by what a vehicle knows without a map: its odometer, and its place in the lane as someone sees it.

use ergon_types::VehicleState;

use super::{Instruction, Side, Task, Turn};
use crate::geometry::wrap_angle;

/// A lane has been left when the place in the lane jumps by more than this from one look to the next.
const JUMP_M: f64 = 1.6;
/// A turn is done when the heading has changed by this much ...
const TURNED_RAD: f64 = 1.1;
/// ... or when straight on has gone on for this long.
const STRAIGHT_M: f64 = 130.0;

/// A task and how far its order is carried out.
#[derive(Clone, Debug)]
pub struct Order {
    now: Task,
    last_offset_m: Option<f64>,
    last: Option<VehicleState>,
    turned_rad: f64,
    driven_m: f64,
}

impl Order {
    /// The order of a task, not begun.
    pub fn new(task: &Task) -> Order {
        Order { now: task.clone(), last_offset_m: None, last: None, turned_rad: 0.0, driven_m: 0.0 }
    }

    /// What is to be done now, with the words that say so.
    pub fn task(&self) -> &Task {
        &self.now
    }

    /// Looks whether the order is done, and changes the task if it is. `offset_m` is the place to the left of the lane's
    /// centre, where it is known.
    pub fn update(&mut self, ego: &VehicleState, offset_m: Option<f64>) {
        if let Some(last) = self.last.replace(*ego) {
            self.turned_rad += wrap_angle(ego.heading_rad - last.heading_rad);
            self.driven_m += ego.speed_mps.abs() * (ego.t_s - last.t_s);
        }
        // Crossing the line to the left, the place jumps from far left in the old lane to far right in the new one.
        let jump_m = match (self.last_offset_m, offset_m) {
            (Some(before), Some(now)) => before - now,
            _ => 0.0,
        };
        self.last_offset_m = offset_m;
        let next = match self.now.instruction {
            Instruction::ChangeLane(Side::Left) if jump_m > JUMP_M => Instruction::KeepLane,
            Instruction::ChangeLane(Side::Right) if jump_m < -JUMP_M => Instruction::KeepLane,
            Instruction::Turn(Turn::Left) if self.turned_rad > TURNED_RAD => Instruction::FollowRoute,
            Instruction::Turn(Turn::Right) if self.turned_rad < -TURNED_RAD => Instruction::FollowRoute,
            Instruction::Turn(Turn::Straight) if self.driven_m > STRAIGHT_M => Instruction::FollowRoute,
            _ => return,
        };
        self.now = self.now.told(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(instruction: Instruction) -> Order {
        Order::new(&Task { instruction, text: "as said".to_owned(), ..Task::default() })
    }

    fn turned(heading_rad: f64, t_s: f64) -> VehicleState {
        VehicleState { heading_rad, t_s, speed_mps: 10.0, ..VehicleState::default() }
    }

    #[test]
    fn a_lane_change_is_done_when_the_line_is_crossed_the_right_way() {
        for (side, sign) in [(Side::Left, 1.0), (Side::Right, -1.0)] {
            let mut order = order(Instruction::ChangeLane(side));
            for offset in [0.0, 0.8, 1.6] {
                order.update(&turned(0.0, 0.0), Some(sign * offset));
                assert_eq!(order.task().text, "as said");
            }
            order.update(&turned(0.0, 0.0), Some(-sign * 1.6));
            assert_eq!(order.task().instruction, Instruction::KeepLane);
            assert_eq!(order.task().text, "keep your lane");
        }
        let mut wrong = order(Instruction::ChangeLane(Side::Left));
        wrong.update(&turned(0.0, 0.0), Some(-1.6));
        wrong.update(&turned(0.0, 0.1), Some(1.6));
        assert_eq!(wrong.task().text, "as said");
    }

    #[test]
    fn a_turn_is_done_when_the_heading_says_so() {
        let mut order = order(Instruction::Turn(Turn::Left));
        for i in 0..10 {
            order.update(&turned(0.1 * f64::from(i), 0.1 * f64::from(i)), None);
            assert_eq!(order.task().text, "as said");
        }
        order.update(&turned(1.2, 1.0), None);
        assert_eq!(order.task().instruction, Instruction::FollowRoute);
    }
}
