//! The table of phrasings. `{}` stands for a speed or for a vehicle.

use ergon_types::ActorKind;

use super::{Instruction, Language, Side, Turn};

/// Kinds of road users that can be followed, with their words; the first word is the one used in phrases.
#[rustfmt::skip]
pub(super) const ACTORS: &[(ActorKind, &[&str], &[&str])] = &[
    (ActorKind::Car, &["car", "sedan", "taxi"], &["汽车", "轿车", "小车", "出租车", "前车"]),
    (ActorKind::Truck, &["truck", "lorry", "van"], &["卡车", "货车", "大车"]),
    (ActorKind::Bus, &["bus", "coach"], &["公交车", "公交", "巴士", "客车"]),
    (ActorKind::Motorcycle, &["motorcycle", "motorbike"], &["摩托车", "摩托"]),
    (ActorKind::Bicycle, &["cyclist", "bicycle", "bike"], &["自行车", "骑车人", "单车"]),
];

/// All ways to say an instruction, at least six each.
pub(super) fn sayings(instruction: Instruction, language: Language) -> &'static [&'static str] {
    match language {
        Language::English => english(instruction),
        Language::Chinese => chinese(instruction),
    }
}

#[rustfmt::skip]
fn english(instruction: Instruction) -> &'static [&'static str] {
    match instruction {
        Instruction::FollowRoute => &["drive on", "follow the route", "continue along the road", "keep driving",
            "just drive", "carry on along this road", "go on", "follow the navigation"],
        Instruction::KeepLane => &["keep your lane", "stay in this lane", "stay in lane", "do not change lanes",
            "hold this lane", "remain in your lane", "keep to the current lane"],
        Instruction::ChangeLane(Side::Left) => &["take the left lane", "change to the left lane", "move into the left lane",
            "switch to the lane on your left", "go to the left lane", "merge left", "move over to the left",
            "make a lane change to the left", "change lanes to the left", "get into the left lane"],
        Instruction::ChangeLane(Side::Right) => &["take the right lane", "change to the right lane",
            "move into the right lane", "switch to the lane on your right", "go to the right lane", "merge right",
            "move over to the right", "make a lane change to the right", "change lanes to the right",
            "get into the right lane"],
        Instruction::Turn(Turn::Left) => &["turn left", "turn left at the junction", "take a left at the intersection",
            "go left at the crossing", "turn left ahead", "make a left turn", "take the next left", "left at the lights"],
        Instruction::Turn(Turn::Right) => &["turn right", "turn right at the junction",
            "take a right at the intersection", "go right at the crossing", "turn right ahead", "make a right turn",
            "take the next right", "right at the lights"],
        Instruction::Turn(Turn::Straight) => &["go straight", "go straight on at the junction",
            "drive straight through the intersection", "straight ahead at the crossing", "continue straight",
            "keep straight on", "straight on at the lights"],
        Instruction::Stop => &["stop", "stop the car", "come to a stop", "please stop here", "halt", "brake to a stop",
            "stop now", "come to a standstill"],
        Instruction::PullOver => &["pull over", "pull over to the right", "stop at the side of the road",
            "pull over and stop", "park at the roadside", "stop on the right edge", "please pull over here",
            "pull over now", "stop by the roadside", "pull in at the side"],
        Instruction::SetSpeed { .. } => &["slow down to {}", "drive at {}", "set the speed to {} km/h", "go {} km/h",
            "keep to {} kilometres per hour", "speed of {} please", "adjust your speed to {}", "drive {} kmh", "slow to {}",
            "bring the speed to {}", "keep it at {}", "please drive at {} km/h"],
        Instruction::SlowDown => &["slow down", "drive slower", "go slower", "please slow down a bit", "reduce speed",
            "decelerate", "drive more slowly"],
        Instruction::SpeedUp => &["speed up", "drive faster", "go faster", "accelerate", "please speed up a bit",
            "a bit faster please", "go a little faster"],
        Instruction::Follow(_) => &["follow the {}", "follow that {}", "stay behind the {}", "drive behind the {}",
            "keep behind the {} ahead", "follow the {} ahead", "follow the {} in front"],
        Instruction::ReachGoal => &["reach the goal", "drive to the goal", "reach the goal in time",
            "get to the target", "drive to the destination", "be at the goal on time", "reach the target area"],
    }
}

#[rustfmt::skip]
fn chinese(instruction: Instruction) -> &'static [&'static str] {
    match instruction {
        Instruction::FollowRoute => &["继续行驶", "按路线行驶", "沿着路开", "继续往前开", "按导航走", "正常行驶", "沿路线走"],
        Instruction::KeepLane => &["保持车道", "不要变道", "保持在当前车道", "别变道", "留在本车道", "保持本车道行驶", "不要换道"],
        Instruction::ChangeLane(Side::Left) => &["向左变道", "变到左车道", "走左边车道", "换到左侧车道", "往左并线", "并到左边车道",
            "请变道到左车道", "开到左车道"],
        Instruction::ChangeLane(Side::Right) => &["向右变道", "变到右车道", "走右边车道", "换到右侧车道", "往右并线", "并到右边车道",
            "请变道到右车道", "开到右车道"],
        Instruction::Turn(Turn::Left) => &["在前面路口左转", "前方路口左转", "左转", "下个路口左转", "路口左拐", "请在路口向左转",
            "到路口往左转"],
        Instruction::Turn(Turn::Right) => &["在前面路口右转", "前方路口右转", "右转", "下个路口右转", "路口右拐", "请在路口向右转",
            "到路口往右转"],
        Instruction::Turn(Turn::Straight) => &["在前面路口直行", "前方路口直行", "直行", "路口直走", "直行通过路口", "请在路口直行",
            "过路口一直走"],
        Instruction::Stop => &["停车", "停下", "请停车", "把车停下来", "马上停车", "停下来", "现在停车"],
        Instruction::PullOver => &["靠边停车", "靠边停", "请靠边停车", "在路边停车", "靠右边停车靠边", "停到路边", "路边停靠", "请在路边停下", "靠路边停一下"],
        Instruction::SetSpeed { .. } => &["减速到{}", "降到{}公里", "车速降到{}", "请把速度降到{}公里", "速度降低到{}",
            "把车速保持在{}", "车速{}", "时速{}公里", "以{}公里每小时行驶", "把速度调到{}", "开到{}公里每小时", "速度保持{}"],
        Instruction::SlowDown => &["减速", "开慢一点", "慢一点", "请减速", "慢点开", "降低速度", "放慢速度"],
        Instruction::SpeedUp => &["加速", "开快一点", "快一点", "请加速", "快点开", "提高速度", "提速"],
        Instruction::Follow(_) => &["跟着{}", "跟着前面的{}", "跟住{}", "跟在{}后面", "跟随前方{}", "请跟着那辆{}", "跟着{}走"],
        Instruction::ReachGoal => &["开到目标位置", "到达目标", "按时到达目标", "前往目标区域", "开往目的地", "准时到达目标区域", "到目标去"],
    }
}
