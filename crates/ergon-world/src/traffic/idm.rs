//! How hard to accelerate behind another vehicle: the Intelligent Driver Model.
//!
//! Source: Treiber, Hennecke, Helbing: "Congested traffic states in empirical observations and microscopic simulations",
//! Physical Review E 62 (2000), equations 1 to 3. Above the desired speed the free part is that of the improved model
//! (Treiber, Kesting: "Traffic Flow Dynamics", 2013, section 11.3.7), since the original brakes absurdly hard there.

/// A driver's taste.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Idm {
    /// Speed on an empty road (v0).
    pub desired_speed_mps: f64,
    /// Time gap in flowing traffic (T).
    pub time_gap_s: f64,
    /// Gap at standstill (s0).
    pub standstill_gap_m: f64,
    /// Greatest acceleration (a).
    pub acceleration_mps2: f64,
    /// Comfortable braking (b), positive.
    pub braking_mps2: f64,
}

/// Nobody brakes harder than tyres allow.
pub const BRAKING_MAX_MPS2: f64 = 8.0;
/// Exponent of the free acceleration.
const DELTA: f64 = 4.0;

impl Default for Idm {
    /// The paper's values for cars on a motorway, with a livelier acceleration.
    fn default() -> Idm {
        Idm {
            desired_speed_mps: 33.3,
            time_gap_s: 1.4,
            standstill_gap_m: 2.0,
            acceleration_mps2: 1.5,
            braking_mps2: 2.0,
        }
    }
}

impl Idm {
    /// Acceleration on an empty road whose conditions allow `allowed_mps` here.
    pub fn free(&self, speed_mps: f64, allowed_mps: f64) -> f64 {
        let v0 = self.desired_speed_mps.min(allowed_mps).max(0.1);
        let (a, b) = (self.acceleration_mps2, self.braking_mps2);
        if speed_mps <= v0 {
            let ratio = speed_mps / v0;
            return a * (1.0 - (ratio * ratio) * (ratio * ratio));
        }
        (-b * (1.0 - (v0 / speed_mps).powf(a * DELTA / b))).max(-b)
    }

    /// What the vehicle ahead takes from the acceleration, at least 0; `gap_m` is the free length between the boxes.
    pub fn interaction(&self, speed_mps: f64, gap_m: f64, lead_mps: f64) -> f64 {
        let (a, b) = (self.acceleration_mps2, self.braking_mps2);
        let closing = speed_mps * (speed_mps - lead_mps) / (2.0 * (a * b).sqrt());
        let wanted_m = self.standstill_gap_m + (speed_mps * self.time_gap_s + closing).max(0.0);
        let ratio = wanted_m / gap_m.max(0.1);
        a * ratio * ratio
    }

    /// Acceleration behind a vehicle, or on an empty road.
    ///
    /// # Returns
    /// At least `-`[`BRAKING_MAX_MPS2`].
    pub fn acceleration(&self, speed_mps: f64, allowed_mps: f64, lead: Option<(f64, f64)>) -> f64 {
        let held = lead.map_or(0.0, |(gap_m, lead_mps)| self.interaction(speed_mps, gap_m, lead_mps));
        (self.free(speed_mps, allowed_mps) - held).max(-BRAKING_MAX_MPS2)
    }

    /// The gap that keeps itself at a speed: `(s0 + v T) / sqrt(1 - (v / v0)^4)`.
    pub fn equilibrium_gap_m(&self, speed_mps: f64) -> f64 {
        let ratio = (speed_mps / self.desired_speed_mps).powi(4);
        (self.standstill_gap_m + speed_mps * self.time_gap_s) / (1.0 - ratio).max(1e-9).sqrt()
    }
}
