//! Whether a lane change pays and is safe: the model MOBIL.
//!
//! Source: Kesting, Treiber, Helbing: "General lane-changing model MOBIL for car-following models", Transportation
//! Research Record 1999 (2007). A change is made if the new follower need not brake harder than `safe_braking_mps2`
//! (safety criterion) and if what the driver gains exceeds what others lose, weighed by politeness, by a threshold
//! (incentive criterion).

/// A driver's taste.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mobil {
    /// Weight of others' loss (p).
    pub politeness: f64,
    /// Gain below which nothing is done.
    pub threshold_mps2: f64,
    /// Braking that may be asked of the new follower, positive.
    pub safe_braking_mps2: f64,
}

impl Default for Mobil {
    /// The paper's values.
    fn default() -> Mobil {
        Mobil { politeness: 0.2, threshold_mps2: 0.1, safe_braking_mps2: 3.0 }
    }
}

/// Accelerations before and after the change that is considered.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct Prospect {
    /// The driver's own, before and after.
    pub own_mps2: [f64; 2],
    /// The follower in the new lane, before and after; zeros if there is none.
    pub new_follower_mps2: [f64; 2],
    /// The follower in the old lane, before and after.
    pub old_follower_mps2: [f64; 2],
    /// Gain that comes from elsewhere: keeping right, a lane that ends.
    pub bias_mps2: f64,
}

impl Mobil {
    /// The safety criterion, for the new follower and for the driver.
    pub fn is_safe(&self, prospect: &Prospect) -> bool {
        let least = -self.safe_braking_mps2;
        prospect.new_follower_mps2[1] >= least && prospect.own_mps2[1] >= least
    }

    /// Gain above the threshold; positive when the change pays.
    pub fn incentive(&self, prospect: &Prospect) -> f64 {
        let gain = |pair: [f64; 2]| pair[1] - pair[0];
        let others = gain(prospect.new_follower_mps2) + gain(prospect.old_follower_mps2);
        gain(prospect.own_mps2) + self.politeness * others + prospect.bias_mps2 - self.threshold_mps2
    }

    /// Both criteria.
    pub fn wants(&self, prospect: &Prospect) -> bool {
        self.is_safe(prospect) && self.incentive(prospect) > 0.0
    }
}
