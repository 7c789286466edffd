//! From an observation to the model's inputs: pixels to patches, the vehicle's state and the goal to numbers.
//!
//! What is here is shared by the runtime and by whoever records training data, so that both mean the same.

mod features;

pub use features::{HINT_DIM, STATE_DIM, clipped, hint_features, state_features};

use ergon_types::{Frame, Observation};
use thiserror::Error;

use crate::config::{CameraConfig, VisionConfig};

/// An observation that does not fit the model.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum ProcessorError {
    /// Not one picture for each camera.
    #[error(
        "the observation has {found} {which}, the model has {expected} cameras; give one picture for each"
    )]
    FrameCount {
        /// `frames` or `earlier_frames`.
        which: &'static str,
        /// Pictures given.
        found: usize,
        /// Cameras of the model.
        expected: usize,
    },
    /// A picture of another size.
    #[error(
        "the picture of camera {index} ('{name}') is {found_width}x{found_height} with {bytes} bytes, the model expects {width}x{height}, three bytes a pixel"
    )]
    FrameSize {
        /// Which camera.
        index: usize,
        /// What the model calls it.
        name: String,
        /// Pixels in a row.
        found_width: usize,
        /// Rows.
        found_height: usize,
        /// Bytes of the picture.
        bytes: usize,
        /// Pixels in a row by the configuration.
        width: usize,
        /// Rows by the configuration.
        height: usize,
    },
    /// A number of the vehicle's state or of the goal that is none.
    #[error("{what} of the observation holds a value that is no number; a policy cannot act on it")]
    NotFinite {
        /// The part.
        what: &'static str,
    },
}

/// Writes the patches of an observation, one byte a value, `[num_patches, cells_of_patch, cell_len]`: cameras in order, the
/// patches of each row by row, in a patch its cells row by row, in a cell its pixels row by row. A pixel is red, green,
/// blue, and the luminance of the earlier frame. This is also how training data are kept.
///
/// # Errors
/// There is not one picture of the right size for each camera.
pub fn patch_bytes(
    config: &VisionConfig,
    frames: &[Frame],
    earlier_frames: &[Frame],
    patches: &mut Vec<u8>,
) -> Result<(), ProcessorError> {
    check_frames(config, "pictures", frames)?;
    check_frames(config, "earlier pictures", earlier_frames)?;
    patches.clear();
    for (camera, (frame, earlier)) in config.cameras.iter().zip(frames.iter().zip(earlier_frames)) {
        let (columns, rows) = camera.patch_grid(config.patch_size);
        let (side, cell) = (config.patch_size, config.stem_cell_size);
        let grid = |rows: usize, columns: usize| {
            (0..rows).flat_map(move |row| (0..columns).map(move |column| (row, column)))
        };
        for ((row, column), (cell_row, cell_column)) in grid(rows, columns)
            .flat_map(|patch| grid(side / cell, side / cell).map(move |cell| (patch, cell)))
        {
            let (top, left) = (row * side + cell_row * cell, column * side + cell_column * cell);
            for y in top..top + cell {
                let start = (y * camera.width + left) * 3;
                let line = start..start + cell * 3;
                let now = frame.rgb[line.clone()].as_chunks::<3>().0;
                let then = earlier.rgb[line].as_chunks::<3>().0;
                for (now, then) in now.iter().zip(then) {
                    patches.extend_from_slice(now);
                    patches.push(luminance(*then));
                }
            }
        }
    }
    Ok(())
}

/// The values of patches for the vision encoder: a byte as -1 to 1.
pub fn scale_pixels(patches: &[u8], values: &mut Vec<f32>) {
    values.clear();
    values.extend(patches.iter().map(|byte| f32::from(*byte) / 127.5 - 1.0));
}

/// Weighted as in Rec. 601, in 256ths.
fn luminance([red, green, blue]: [u8; 3]) -> u8 {
    ((77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue)) >> 8) as u8
}

fn check_frames(config: &VisionConfig, which: &'static str, frames: &[Frame]) -> Result<(), ProcessorError> {
    let expected = config.cameras.len();
    if frames.len() != expected {
        return Err(ProcessorError::FrameCount { which, found: frames.len(), expected });
    }
    for (index, (camera, frame)) in config.cameras.iter().zip(frames).enumerate() {
        let CameraConfig { name, width, height } = camera;
        let fits = frame.width == *width && frame.height == *height;
        if !fits || frame.rgb.len() != width * height * 3 {
            return Err(ProcessorError::FrameSize {
                index,
                name: name.clone(),
                found_width: frame.width,
                found_height: frame.height,
                bytes: frame.rgb.len(),
                width: *width,
                height: *height,
            });
        }
    }
    Ok(())
}

/// Refuses numbers that are none: they would pass through every layer and end as a plan of no numbers.
///
/// # Errors
/// The vehicle's state or the goal holds NaN or an infinity.
pub fn check_numbers(observation: &Observation) -> Result<(), ProcessorError> {
    let Observation { ego, hint, .. } = observation;
    let state = [
        ego.t_s,
        ego.x_m,
        ego.y_m,
        ego.heading_rad,
        ego.speed_mps,
        ego.acceleration_mps2,
        ego.steering_angle_rad,
    ];
    if state.iter().any(|value| !value.is_finite()) {
        return Err(ProcessorError::NotFinite { what: "the vehicle's state" });
    }
    let pairs = [hint.position_m, hint.route_point_m, hint.time_window_s, hint.speed_range_mps];
    let mut goal = pairs.into_iter().flatten().flatten().chain(hint.heading_rad);
    if goal.any(|value| !value.is_finite()) {
        return Err(ProcessorError::NotFinite { what: "the goal" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> VisionConfig {
        let camera = |name: &str, width, height| CameraConfig { name: name.into(), width, height };
        VisionConfig {
            cameras: vec![camera("front", 16, 8), camera("rear", 8, 8)],
            patch_size: 4,
            num_channels: 4,
            hidden_size: 8,
            stem_cell_size: 2,
            stem_channels: 3,
            stem_size: 8,
            num_hidden_layers: 1,
            num_attention_heads: 1,
            intermediate_size: 8,
            rms_norm_eps: 1e-6,
            spatial_merge_size: 2,
            frame_gap_s: 0.4,
        }
    }

    /// A picture whose bytes say where they are.
    fn frame(width: usize, height: usize, salt: usize) -> Frame {
        let rgb = (0..width * height * 3).map(|i| (i * 7 + salt) as u8).collect();
        Frame { width, height, rgb }
    }

    #[test]
    fn patches_are_in_the_stated_order() {
        let config = config();
        let frames = [frame(16, 8, 0), frame(8, 8, 1)];
        let earlier = [frame(16, 8, 2), frame(8, 8, 3)];
        let mut patches = Vec::new();
        patch_bytes(&config, &frames, &earlier, &mut patches).unwrap();
        assert_eq!(patches.len(), config.num_patches() * config.patch_len());
        // Camera 0 has 4 x 2 patches; patch 6 begins at x = 8, y = 4, its last cell at x = 10, y = 6; the second pixel there.
        let at = 6 * 64 + 3 * 16 + 4;
        let pixel = (6 * 16 + 11) * 3;
        assert_eq!(patches[at..at + 3], frames[0].rgb[pixel..pixel + 3]);
        let [r, g, b] = [0, 1, 2].map(|channel| u32::from(earlier[0].rgb[pixel + channel]));
        assert_eq!(u32::from(patches[at + 3]), (77 * r + 150 * g + 29 * b) / 256);
        // The second camera begins after the eight patches of the first.
        assert_eq!(patches[8 * 64..8 * 64 + 3], frames[1].rgb[..3]);
    }

    #[test]
    fn white_and_black_are_the_ends_of_the_scale() {
        let mut values = Vec::new();
        scale_pixels(&[0, 255, luminance([255, 255, 255])], &mut values);
        assert_eq!(values, [-1.0, 1.0, 1.0]);
    }

    #[test]
    fn pictures_that_do_not_fit_are_named() {
        let config = config();
        let good = [frame(16, 8, 0), frame(8, 8, 1)];
        let mut patches = Vec::new();
        let error = patch_bytes(&config, &good[..1], &good, &mut patches).unwrap_err();
        assert_eq!(error, ProcessorError::FrameCount { which: "pictures", found: 1, expected: 2 });
        let turned = [frame(16, 8, 0), frame(4, 16, 1)];
        let message = patch_bytes(&config, &good, &turned, &mut patches).unwrap_err().to_string();
        assert!(message.contains("rear") && message.contains("4x16"), "{message}");
        let cut = [Frame { rgb: vec![0; 5], ..good[0].clone() }, good[1].clone()];
        assert!(patch_bytes(&config, &cut, &good, &mut patches).is_err());
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        let mut observation = Observation::default();
        assert_eq!(check_numbers(&observation), Ok(()));
        observation.hint.route_point_m = Some([1.0, f64::NAN]);
        assert!(check_numbers(&observation).is_err());
        observation.hint.route_point_m = None;
        observation.ego.speed_mps = f64::INFINITY;
        assert!(check_numbers(&observation).is_err());
    }
}
