//! Light, weather and what the camera makes of them.

use crate::rng::Rng;

/// How much light there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Daylight {
    /// The sun is up.
    #[default]
    Day,
    /// The sun is low; lamps are on.
    Dusk,
    /// What is seen is seen in the headlights.
    Night,
}

/// All that changes a picture without changing what is where.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// How much light there is.
    pub daylight: Daylight,
    /// Where the sun is, from the x axis of the world.
    pub sun_azimuth_rad: f64,
    /// 0 for a blue sky, 1 for a grey one.
    pub clouds: f64,
    /// 0 for dry, 1 for heavy rain.
    pub rain: f64,
    /// Part of the contrast that is lost over a metre.
    pub fog_per_m: f64,
    /// Factor on all brightness.
    pub exposure: f64,
    /// Factors on red, green and blue.
    pub white_balance: [f64; 3],
    /// Standard deviation of the sensor's noise, of 255.
    pub noise: f64,
    /// Shade of asphalt and vegetation, from -1 to 1.
    pub ground_tint: [f64; 2],
    /// For rain and noise.
    pub seed: u64,
}

impl Default for Conditions {
    /// A clear day without noise.
    fn default() -> Conditions {
        Conditions {
            daylight: Daylight::Day,
            sun_azimuth_rad: 0.9,
            clouds: 0.2,
            rain: 0.0,
            fog_per_m: 0.0008,
            exposure: 1.0,
            white_balance: [1.0; 3],
            noise: 0.0,
            ground_tint: [0.0; 2],
            seed: 0,
        }
    }
}

impl Conditions {
    /// The conditions of a seed: seven in ten are by day, two at dusk, one at night; a quarter of all has rain, a tenth
    /// fog; exposure, white balance, noise and the shade of the ground always vary.
    pub fn from_seed(seed: u64) -> Conditions {
        let mut rng = Rng::new(seed).split(0xca3e);
        let daylight = match rng.unit() {
            part if part < 0.7 => Daylight::Day,
            part if part < 0.9 => Daylight::Dusk,
            _ => Daylight::Night,
        };
        let rain = if rng.chance(0.25) { rng.range(0.2, 1.0) } else { 0.0 };
        let fog = if rng.chance(0.1) { rng.range(0.006, 0.018) } else { rng.range(0.0004, 0.002) };
        Conditions {
            daylight,
            sun_azimuth_rad: rng.range(-std::f64::consts::PI, std::f64::consts::PI),
            clouds: if rain > 0.0 { rng.range(0.7, 1.0) } else { rng.unit() },
            rain,
            fog_per_m: fog + 0.003 * rain,
            exposure: rng.range(0.8, 1.2),
            white_balance: [rng.range(0.92, 1.08), 1.0, rng.range(0.92, 1.08)],
            noise: rng.range(0.5, 3.0),
            ground_tint: [rng.range(-1.0, 1.0), rng.range(-1.0, 1.0)],
            seed,
        }
    }
}

/// Colours from 0 to 1.
pub(super) type Color = [f32; 3];

/// `part` of the way from one colour to another.
pub(super) fn mix(a: Color, b: Color, part: f32) -> Color {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * part)
}

/// All channels times a factor.
pub(super) fn scale(color: Color, factor: f32) -> Color {
    color.map(|value| value * factor)
}

/// Light of a scene under conditions: what the drawing code needs of [`Conditions`].
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Light {
    pub(super) sky_top: Color,
    pub(super) sky_horizon: Color,
    /// What fades into the distance fades into this.
    pub(super) haze: Color,
    pub(super) fog_per_m: f32,
    /// Colour and strength of the light that comes from everywhere.
    pub(super) ambient: Color,
    /// Strength of the sun.
    pub(super) sun: f32,
    /// Horizontal direction to the sun, in the world.
    pub(super) sun_direction: [f32; 2],
    /// 0 by day, 1 at night: headlights show, lamps glow.
    pub(super) darkness: f32,
    /// 0 dry, 1 wet.
    pub(super) wet: f32,
    pub(super) ground_tint: [f32; 2],
}

impl Light {
    pub(super) fn of(conditions: &Conditions) -> Light {
        let grey = |value: f32| [value; 3];
        let (top, horizon, ambient, sun, darkness) = match conditions.daylight {
            Daylight::Day => ([0.30, 0.50, 0.82], [0.74, 0.83, 0.92], [0.80, 0.82, 0.85], 0.35, 0.0),
            Daylight::Dusk => ([0.20, 0.22, 0.40], [0.85, 0.52, 0.36], [0.50, 0.46, 0.50], 0.16, 0.45),
            Daylight::Night => ([0.02, 0.03, 0.07], [0.09, 0.10, 0.15], [0.13, 0.14, 0.18], 0.02, 1.0),
        };
        let clouds = conditions.clouds as f32;
        let level = (horizon[0] + horizon[1] + horizon[2]) / 3.0;
        let cloudy = grey(level * 0.88);
        let sky_top = mix(top, cloudy, clouds * 0.9);
        let sky_horizon = mix(horizon, cloudy, clouds * 0.7);
        let (sin, cos) = conditions.sun_azimuth_rad.sin_cos();
        Light {
            sky_top,
            sky_horizon,
            haze: sky_horizon,
            fog_per_m: conditions.fog_per_m as f32,
            ambient: scale(ambient, 1.0 + 0.1 * clouds),
            sun: sun * (1.0 - 0.8 * clouds),
            sun_direction: [cos as f32, sin as f32],
            darkness,
            wet: conditions.rain as f32,
            ground_tint: conditions.ground_tint.map(|tint| tint as f32),
        }
    }

    /// Part of the haze over a distance.
    pub(super) fn haze_at(&self, distance_m: f32) -> f32 {
        1.0 - (-self.fog_per_m * distance_m).exp()
    }

    /// How much the ego vehicle's headlights add to the brightness of what is `forward` ahead and `left` to the left of
    /// the vehicle; 0 by day.
    pub(super) fn headlights(&self, forward_m: f32, left_m: f32) -> f32 {
        if self.darkness <= 0.0 || forward_m <= 0.0 {
            return 0.15 * self.darkness;
        }
        let beside = left_m / (2.0 + 0.45 * forward_m);
        let far = forward_m / 32.0;
        let reached = (forward_m / 5.0).min(1.0);
        self.darkness * (0.15 + 0.8 * reached / ((1.0 + far * far) * (1.0 + beside * beside)))
    }

    /// What a surface of a colour looks like: `facing` is the cosine towards the sun, `boost` what headlights add.
    pub(super) fn shade(&self, color: Color, facing: f32, boost: f32) -> Color {
        let sun = self.sun * facing.max(0.0);
        [0, 1, 2].map(|i| color[i] * (self.ambient[i] + sun + boost))
    }
}
