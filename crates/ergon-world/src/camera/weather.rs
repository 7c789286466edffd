//! From light to bytes: rain before the lens, exposure, white balance and the sensor's noise.

use super::conditions::{Conditions, Light, mix};
use super::raster::Canvas;

/// A value that looks random but hangs only on its inputs (the finaliser of SplitMix64).
fn scramble(value: u64) -> u64 {
    let mut z = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What changes from picture to picture: the seed, the time in milliseconds and the camera.
pub(super) fn picture_seed(conditions: &Conditions, t_s: f64, yaw_rad: f64) -> u64 {
    let camera = (yaw_rad * 1e3).round() as i64 as u64;
    scramble(conditions.seed ^ scramble((t_s * 1e3).round() as i64 as u64) ^ camera.rotate_left(40))
}

/// Streaks of rain, as many as the picture is large, and less contrast.
pub(super) fn rain(canvas: &mut Canvas, light: &Light, rain: f32, seed: u64) {
    if rain <= 0.0 {
        return;
    }
    let (width, height) = (canvas.width, canvas.height);
    for pixel in &mut canvas.color {
        *pixel = mix(*pixel, light.haze, 0.16 * rain);
    }
    let longest = (height / 8).max(2);
    let n = (rain * (width * height) as f32 / 220.0) as u64;
    for i in 0..n {
        let drop = scramble(seed ^ (i << 20));
        let (x, y) = (drop as usize % width, (drop >> 20) as usize % height);
        let length = longest / 2 + (drop >> 40) as usize % longest;
        let opacity = 0.10 + 0.14 * (drop >> 56) as f32 / 255.0;
        for row in y..(y + length).min(height) {
            let pixel = &mut canvas.color[row * width + x];
            *pixel = mix(*pixel, light.sky_horizon, opacity);
        }
    }
}

/// Writes the picture as bytes, `[height, width, 3]`.
pub(super) fn develop(canvas: &Canvas, conditions: &Conditions, seed: u64, rgb: &mut [u8]) {
    let gain = conditions.white_balance.map(|balance| (255.0 * balance * conditions.exposure) as f32);
    if conditions.noise <= 0.0 {
        for (pixel, bytes) in canvas.color.iter().zip(rgb.chunks_exact_mut(3)) {
            for i in 0..3 {
                bytes[i] = (pixel[i] * gain[i] + 0.5) as u8;
            }
        }
        return;
    }
    // Four dice of 8 bits per channel have a standard deviation of about 148.
    let noise = conditions.noise as f32 / 147.8;
    for (k, (pixel, bytes)) in canvas.color.iter().zip(rgb.chunks_exact_mut(3)).enumerate() {
        let dice = scramble(seed.wrapping_add(k as u64));
        let more = scramble(dice);
        for i in 0..3 {
            let roll =
                |value: u64| f32::from((value >> (16 * i)) as u8) + f32::from((value >> (16 * i + 8)) as u8);
            let offset = (roll(dice) + roll(more) - 510.0) * noise;
            bytes[i] = (pixel[i] * gain[i] + offset + 0.5) as u8;
        }
    }
}
