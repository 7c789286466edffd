//! The limits, with the sources of their defaults.

/// What a plan may do. Every field says which way is tighter; tightening one never clears a plan that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct MotionLimits {
    /// Least duration of a plan. Tighter: more.
    pub duration_min_s: f64,
    /// Greatest age of the observation when the plan is checked, as Autoware has for what changes fast: 0.2 s. Tighter:
    /// less.
    pub age_max_s: f64,
    /// Greatest speed. Tighter: less.
    pub speed_max_mps: f64,
    /// Greatest speed backwards. Tighter: less.
    pub reverse_speed_max_mps: f64,
    /// Greatest acceleration. Tighter: less.
    pub acceleration_max_mps2: f64,
    /// Greatest deceleration: what dry asphalt gives with a margin. Tighter: less.
    pub deceleration_max_mps2: f64,
    /// Greatest lateral acceleration: nuPlan's bound for human-like driving, 4.89. Tighter: less.
    pub lateral_acceleration_max_mps2: f64,
    /// Greatest jerk of an acceleration that grows; braking may start at once. Tighter: less.
    pub jerk_max_mps3: f64,
    /// Greatest lateral jerk, `v^2 kappa' + 3 v a kappa`. Tighter: less.
    pub lateral_jerk_max_mps3: f64,
    /// Greatest curvature: tan(1.066) / 2.579 for a BMW 320i. Tighter: less.
    pub curvature_max_per_m: f64,
    /// How far a point may lie from where the speeds before it lead. Tighter: less.
    pub consistency_max_m: f64,
    /// How far the plan may start from the vehicle, along with 0.2 of it in rad and 2 of it in m/s. Tighter: less.
    pub start_max_m: f64,
    /// How far the plan may lie from the last one after half a second. Tighter: less.
    pub jump_max_m: f64,
    /// How far a corner may stand over the road's edge. Tighter: less.
    pub overhang_max_m: f64,
    /// Which part of a plan is held against the limits of motion, others and the road's edge. Tighter: more.
    pub horizon_s: f64,
    /// Contact that is foreseen after this time is let pass as long as a stop that begins half a second from now leads to none
    /// within the horizon (Autoware's trajectory filter accepts whatever comes after 2 s). Tighter: more.
    pub sure_s: f64,
    /// Least gap between the boxes for the collision rule. Tighter: more.
    pub clearance_m: f64,
    /// The gate's own latency: how long until a decision shows; the response time of RSS. Tighter: more.
    pub response_time_s: f64,
    /// Acceleration of the ego vehicle during the response time (RSS: 3.5). Tighter: more.
    pub rss_acceleration_max_mps2: f64,
    /// Braking of the ego vehicle after it (RSS: 4). Tighter: less.
    pub rss_brake_min_mps2: f64,
    /// Braking that one ahead may do (RSS: 8). Tighter: more.
    pub rss_brake_max_mps2: f64,
    /// Distance that remains when both stand. Tighter: more.
    pub rss_standstill_m: f64,
    /// Lateral acceleration during the response time (RSS: 0.2). Tighter: more.
    pub rss_lateral_acceleration_max_mps2: f64,
    /// Lateral braking after it (RSS: 0.8). Tighter: less.
    pub rss_lateral_brake_min_mps2: f64,
    /// Lateral distance that remains (RSS: 0.1). Tighter: more.
    pub rss_lateral_margin_m: f64,
    /// Most braking that is demanded of a plan inside the RSS distance. Tighter: more.
    pub rss_response_brake_mps2: f64,
    /// Braking expected of one behind when the ego vehicle moves in front of it (UN R157: 6). Tighter: less.
    pub cut_in_brake_mps2: f64,
    /// Its delay (UN R157's cut-in model in the form `TTC > v_rel / (2 b) + 0.25`). Tighter: more.
    pub cut_in_delay_s: f64,
}

impl Default for MotionLimits {
    fn default() -> MotionLimits {
        MotionLimits {
            duration_min_s: 3.0,
            age_max_s: 0.2,
            speed_max_mps: 45.0,
            reverse_speed_max_mps: 0.1,
            acceleration_max_mps2: 5.0,
            deceleration_max_mps2: 9.0,
            lateral_acceleration_max_mps2: 4.89,
            jerk_max_mps3: 15.0,
            lateral_jerk_max_mps3: 12.0,
            curvature_max_per_m: 0.70,
            consistency_max_m: 0.3,
            start_max_m: 0.5,
            jump_max_m: 1.0,
            overhang_max_m: 0.05,
            horizon_s: 3.0,
            sure_s: 2.0,
            clearance_m: 0.1,
            response_time_s: 0.1,
            rss_acceleration_max_mps2: 3.5,
            rss_brake_min_mps2: 4.0,
            rss_brake_max_mps2: 8.0,
            rss_standstill_m: 0.5,
            rss_lateral_acceleration_max_mps2: 0.2,
            rss_lateral_brake_min_mps2: 0.8,
            rss_lateral_margin_m: 0.1,
            rss_response_brake_mps2: 4.0,
            cut_in_brake_mps2: 6.0,
            cut_in_delay_s: 0.25,
        }
    }
}

/// A limit that is none.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error(
    "the limit {name} is {value}; it must be a finite number that is not negative, and more than 0 where it divides"
)]
pub struct LimitsError {
    /// The field.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

impl MotionLimits {
    /// Checks that every limit is one.
    ///
    /// # Errors
    /// Names the first field that is not finite or is negative, or that is 0 and divides.
    pub fn validate(&self) -> Result<(), LimitsError> {
        let divides = [
            ("rss_brake_min_mps2", self.rss_brake_min_mps2),
            ("rss_brake_max_mps2", self.rss_brake_max_mps2),
            ("rss_lateral_brake_min_mps2", self.rss_lateral_brake_min_mps2),
            ("cut_in_brake_mps2", self.cut_in_brake_mps2),
            ("deceleration_max_mps2", self.deceleration_max_mps2),
        ];
        let others = [
            ("duration_min_s", self.duration_min_s),
            ("age_max_s", self.age_max_s),
            ("speed_max_mps", self.speed_max_mps),
            ("reverse_speed_max_mps", self.reverse_speed_max_mps),
            ("acceleration_max_mps2", self.acceleration_max_mps2),
            ("lateral_acceleration_max_mps2", self.lateral_acceleration_max_mps2),
            ("jerk_max_mps3", self.jerk_max_mps3),
            ("lateral_jerk_max_mps3", self.lateral_jerk_max_mps3),
            ("curvature_max_per_m", self.curvature_max_per_m),
            ("consistency_max_m", self.consistency_max_m),
            ("start_max_m", self.start_max_m),
            ("jump_max_m", self.jump_max_m),
            ("overhang_max_m", self.overhang_max_m),
            ("horizon_s", self.horizon_s),
            ("sure_s", self.sure_s),
            ("clearance_m", self.clearance_m),
            ("response_time_s", self.response_time_s),
            ("rss_acceleration_max_mps2", self.rss_acceleration_max_mps2),
            ("rss_standstill_m", self.rss_standstill_m),
            ("rss_lateral_acceleration_max_mps2", self.rss_lateral_acceleration_max_mps2),
            ("rss_lateral_margin_m", self.rss_lateral_margin_m),
            ("rss_response_brake_mps2", self.rss_response_brake_mps2),
            ("cut_in_delay_s", self.cut_in_delay_s),
        ];
        let bad = divides.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0));
        let bad = bad.or_else(|| others.iter().find(|(_, value)| !(value.is_finite() && *value >= 0.0)));
        bad.map_or(Ok(()), |(name, value)| Err(LimitsError { name, value: *value }))
    }
}
