//! Polygons with exact coverage: every edge adds to the pixels it crosses how much area lies to its right, and a running
//! sum along the row gives the covered part of each pixel. The cost grows with the length of the outline, not with the
//! area, and outlines of many polygons may share one accumulator. Method: Raph Levien's font-rs (2016).

/// A point of the picture: column and row.
pub(super) type Pixel = [f32; 2];

/// A part of the picture: first column and row, and one past the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Area {
    pub(super) low: [usize; 2],
    pub(super) high: [usize; 2],
}

impl Area {
    /// The smallest that holds both.
    pub(super) fn union(self, other: Area) -> Area {
        if self.is_empty() {
            return other;
        }
        let pick =
            |f: fn(usize, usize) -> usize, a: [usize; 2], b: [usize; 2]| [f(a[0], b[0]), f(a[1], b[1])];
        Area { low: pick(usize::min, self.low, other.low), high: pick(usize::max, self.high, other.high) }
    }

    pub(super) fn is_empty(self) -> bool {
        self.low[0] >= self.high[0] || self.low[1] >= self.high[1]
    }
}

/// Sums of signed area, one row longer by two so that what ends at the right edge has a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Coverage {
    width: usize,
    height: usize,
    cells: Vec<f32>,
}

impl Coverage {
    /// Makes it fit a picture. Whoever reads the sums puts them back to 0, so that a picture of the same size finds it
    /// empty.
    pub(super) fn reset(&mut self, width: usize, height: usize) {
        if (self.width, self.height) != (width, height) {
            (self.width, self.height) = (width, height);
            self.cells.clear();
            self.cells.resize((width + 2) * height, 0.0);
        }
    }

    /// One row of sums, `[width + 2]`.
    pub(super) fn row(&mut self, row: usize) -> &mut [f32] {
        let stride = self.width + 2;
        &mut self.cells[row * stride..(row + 1) * stride]
    }

    /// The pixels that a polygon can touch.
    fn area_of(&self, polygon: &[Pixel]) -> Area {
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for point in polygon {
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        // `as usize` puts what is negative or not a number to 0.
        let size = [self.width, self.height];
        let end = |axis: usize| (high[axis].ceil() as usize).min(size[axis]);
        Area { low: [low[0] as usize, low[1] as usize], high: [end(0), end(1)] }
    }

    /// Adds a polygon whichever way it turns, and says which pixels it can have touched.
    pub(super) fn add(&mut self, polygon: &[Pixel]) -> Area {
        let area = self.area_of(polygon);
        if area.is_empty() {
            return Area::default();
        }
        let next = |i: usize| polygon[if i + 1 == polygon.len() { 0 } else { i + 1 }];
        let origin = polygon[0];
        let double: f32 = (0..polygon.len())
            .map(|i| {
                let (a, b) = (polygon[i], next(i));
                (a[0] - origin[0]) * (b[1] - origin[1]) - (b[0] - origin[0]) * (a[1] - origin[1])
            })
            .sum();
        let sign = if double < 0.0 { 1.0 } else { -1.0 };
        for (i, point) in polygon.iter().enumerate() {
            self.edge(*point, next(i), sign);
        }
        area
    }

    fn edge(&mut self, a: Pixel, b: Pixel, sign: f32) {
        let (direction, top, bottom) = if a[1] < b[1] { (sign, a, b) } else { (-sign, b, a) };
        let (start, end) = (top[1].max(0.0), bottom[1].min(self.height as f32));
        let slope = (bottom[0] - top[0]) / (bottom[1] - top[1]);
        if start >= end || !slope.is_finite() {
            return;
        }
        // Rounding must not carry the edge out of the area that is read back.
        let (low, high) = (top[0].min(bottom[0]), top[0].max(bottom[0]));
        let mut x = (top[0] + (start - top[1]) * slope).clamp(low, high);
        let last = (end.ceil() as usize).min(self.height);
        for row in start as usize..last {
            let height = end.min(row as f32 + 1.0) - start.max(row as f32);
            let x_next = (x + slope * height).clamp(low, high);
            let width = self.width as f32;
            span(self.row(row), x.min(x_next), x.max(x_next), height * direction, width);
            x = x_next;
        }
    }
}

/// Spreads `weight` of an edge that runs from column `x0` to `x1` within one row; what lies left of the picture counts at
/// its first column, what lies right of it not at all.
fn span(row: &mut [f32], x0: f32, x1: f32, weight: f32, width: f32) {
    if x1 <= 0.0 {
        row[0] += weight;
        return;
    }
    if x0 >= width {
        return;
    }
    let per_column = weight / (x1 - x0).max(1e-12);
    if x0 < 0.0 {
        row[0] -= x0 * per_column;
    }
    let inside = if x0 < 0.0 || x1 > width { (x1.min(width) - x0.max(0.0)) * per_column } else { weight };
    spread(row, x0.max(0.0), x1.min(width), inside);
}

/// The same for an edge wholly within the picture.
fn spread(row: &mut [f32], x0: f32, x1: f32, weight: f32) {
    let (first, end) = (x0 as usize, x1.ceil() as usize);
    if end <= first + 1 {
        let middle = 0.5 * (x0 + x1) - first as f32;
        row[first] += weight * (1.0 - middle);
        row[first + 1] += weight * middle;
        return;
    }
    let per_column = 1.0 / (x1 - x0);
    let head = 1.0 - (x0 - first as f32);
    let tail = x1 - (end - 1) as f32;
    let head_area = 0.5 * per_column * head * head;
    let tail_area = 0.5 * per_column * tail * tail;
    row[first] += weight * head_area;
    if end == first + 2 {
        row[first + 1] += weight * (1.0 - head_area - tail_area);
    } else {
        let second = per_column * (head + 0.5);
        row[first + 1] += weight * (second - head_area);
        for cell in &mut row[first + 2..end - 1] {
            *cell += weight * per_column;
        }
        let before_last = second + (end - first - 3) as f32 * per_column;
        row[end - 1] += weight * (1.0 - before_last - tail_area);
    }
    row[end] += weight * tail_area;
}

/// Blends coloured polygons over a picture. Those of one group count as parts of one surface: where two meet, nothing of
/// what is behind shines through.
#[derive(Clone, Debug, Default)]
pub(super) struct Canvas {
    pub(super) width: usize,
    pub(super) height: usize,
    /// `[height, width]`, red, green, blue from 0 to 1.
    pub(super) color: Vec<[f32; 3]>,
    /// The open group: colour times coverage, and coverage.
    group: Vec<[f32; 4]>,
    group_area: Area,
    coverage: Coverage,
}

impl Canvas {
    /// Makes it fit a picture. What it shows is left to whoever paints the background.
    pub(super) fn reset(&mut self, width: usize, height: usize) {
        (self.width, self.height) = (width, height);
        self.color.resize(width * height, [0.0; 3]);
        self.group.clear();
        self.group.resize(width * height, [0.0; 4]);
        self.group_area = Area::default();
        self.coverage.reset(width, height);
    }

    /// Adds a polygon to the open group.
    pub(super) fn fill(&mut self, polygon: &[Pixel], color: [f32; 3], opacity: f32) {
        let area = self.coverage.add(polygon);
        if area.is_empty() {
            return;
        }
        for y in area.low[1]..area.high[1] {
            let row = self.coverage.row(y);
            let mut sum = 0.0;
            let pixels = &mut self.group[y * self.width..][area.low[0]..area.high[0]];
            for (cell, pixel) in row[area.low[0]..].iter_mut().zip(pixels) {
                sum += *cell;
                *cell = 0.0;
                let part = sum.clamp(0.0, 1.0) * opacity;
                for (value, color) in pixel.iter_mut().zip(color) {
                    *value += part * color;
                }
                pixel[3] += part;
            }
            // The running sum has two cells beyond the last pixel.
            row[area.high[0]] = 0.0;
            row[area.high[0] + 1] = 0.0;
        }
        self.group_area = self.group_area.union(area);
    }

    /// Closes the group: blends it over the picture.
    pub(super) fn flush(&mut self) {
        let area = self.group_area;
        for y in area.low[1]..area.high[1] {
            let columns = y * self.width + area.low[0]..y * self.width + area.high[0];
            for (pixel, part) in self.color[columns.clone()].iter_mut().zip(&mut self.group[columns]) {
                let [r, g, b, coverage] = std::mem::take(part);
                if coverage > 0.0 {
                    let (scale, rest) = (1.0 / coverage.max(1.0), (1.0 - coverage).max(0.0));
                    *pixel = [
                        r * scale + pixel[0] * rest,
                        g * scale + pixel[1] * rest,
                        b * scale + pixel[2] * rest,
                    ];
                }
            }
        }
        self.group_area = Area::default();
    }

    /// Fills one polygon and blends it.
    pub(super) fn draw(&mut self, polygon: &[Pixel], color: [f32; 3], opacity: f32) {
        self.fill(polygon, color, opacity);
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Covered part of a pixel, by 64x64 samples.
    fn sampled(polygon: &[Pixel], x: usize, y: usize) -> f32 {
        let corners: Vec<_> =
            polygon.iter().map(|p| crate::geometry::Point::new(f64::from(p[0]), f64::from(p[1]))).collect();
        let at = |i: usize, k: usize| i as f64 + (k as f64 + 0.5) / 64.0;
        let inside = (0..64 * 64).filter(|k| {
            let point = crate::geometry::Point::new(at(x, k % 64), at(y, k / 64));
            crate::geometry::polygon_contains(&corners, point)
        });
        inside.count() as f32 / 4096.0
    }

    #[test]
    fn coverage_is_the_covered_area_also_where_the_polygon_leaves_the_picture() {
        let polygons: [&[Pixel]; 6] = [
            &[[1.3, 0.7], [6.8, 2.1], [4.2, 5.9]],
            &[[4.2, 5.9], [6.8, 2.1], [1.3, 0.7]],
            &[[-30.0, 2.2], [40.0, 2.9], [40.0, 3.4], [-30.0, 2.8]],
            &[[-5.0, -4.0], [3.0, -2.0], [12.0, 9.0], [-4.0, 20.0]],
            &[[2.0, 2.0], [2.25, 2.0], [2.25, 8.0], [2.0, 8.0]],
            &[[6.5, -3.0], [90.0, 3.0], [6.5, 11.0]],
        ];
        for polygon in polygons {
            let mut coverage = Coverage::default();
            coverage.reset(8, 6);
            coverage.add(polygon);
            for y in 0..6 {
                let mut sum = 0.0;
                for x in 0..8 {
                    sum += coverage.row(y)[x];
                    let expected = sampled(polygon, x, y);
                    assert!((sum - expected).abs() < 0.02, "{polygon:?} at {x},{y}: {sum}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn a_group_of_touching_polygons_hides_what_is_behind() {
        let mut canvas = Canvas::default();
        canvas.reset(4, 1);
        canvas.color.fill([0.0; 3]);
        canvas.fill(&[[0.0, 0.0], [1.5, 0.0], [1.5, 1.0], [0.0, 1.0]], [1.0; 3], 1.0);
        canvas.fill(&[[1.5, 0.0], [4.0, 0.0], [4.0, 1.0], [1.5, 1.0]], [1.0; 3], 1.0);
        canvas.flush();
        assert!(canvas.color.iter().flatten().all(|value| (value - 1.0).abs() < 1e-6), "{:?}", canvas.color);
    }
}
