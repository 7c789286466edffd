//! Which thing hides which: the order in which things are drawn, from back to front.

use crate::geometry::{OrientedBox, Point};

/// Things drawn in one picture; of more, the nearest.
const ITEMS_MAX: usize = 128;

/// Something to draw: what it is (a number of the caller's), what it covers on the ground and in the picture's columns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) what: usize,
    pub(super) shape: OrientedBox,
    pub(super) columns: [f32; 2],
    pub(super) distance_m: f64,
}

/// Buffers for sorting.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    pub(super) items: Vec<Item>,
    /// For each item, a bit for each that must be drawn before it.
    behind: Vec<u128>,
    sorted: Vec<Item>,
}

impl Order {
    /// The items, each after all that it hides.
    pub(super) fn back_to_front(&mut self, eye: Point) -> &[Item] {
        let items = &mut self.items;
        items.sort_unstable_by(|a, b| a.distance_m.total_cmp(&b.distance_m).then(a.what.cmp(&b.what)));
        items.truncate(ITEMS_MAX);
        items.reverse();
        self.behind.clear();
        self.behind.resize(items.len(), 0);
        for (i, a) in items.iter().enumerate() {
            for (j, b) in items.iter().enumerate().skip(i + 1) {
                if a.columns[0] >= b.columns[1] || b.columns[0] >= a.columns[1] {
                    continue;
                }
                // Without a line between them the one with the farther centre is behind.
                if hides(&a.shape, &b.shape, eye).unwrap_or(false) {
                    self.behind[i] |= 1 << j;
                } else {
                    self.behind[j] |= 1 << i;
                }
            }
        }
        self.sorted.clear();
        let mut left = if items.is_empty() { 0 } else { u128::MAX >> (ITEMS_MAX - items.len()) };
        while left != 0 {
            let is_next = |k: &usize| left >> k & 1 == 1 && self.behind[*k] & left == 0;
            // Where things hide each other in a circle, the farthest goes first.
            let pick = (0..items.len()).find(is_next).unwrap_or(left.trailing_zeros() as usize);
            self.sorted.push(items[pick]);
            left &= !(1 << pick);
        }
        &self.sorted
    }
}

/// Whether `a` lies between the eye and `b`; `None` if no side of either tells.
fn hides(a: &OrientedBox, b: &OrientedBox, eye: Point) -> Option<bool> {
    side(a, b, eye).or_else(|| side(b, a, eye).map(|hides| !hides))
}

/// Looks for a side of `a` beyond which all of `b` lies: then `b` hides `a` if the eye is beyond it too.
fn side(a: &OrientedBox, b: &OrientedBox, eye: Point) -> Option<bool> {
    let along = Point::polar(1.0, a.heading_rad);
    let other = Point::polar(1.0, b.heading_rad);
    for (axis, half) in [(along, 0.5 * a.length_m), (along.left(), 0.5 * a.width_m)] {
        let reach = 0.5 * (b.length_m * other.dot(axis).abs() + b.width_m * other.left().dot(axis).abs());
        let (d, e) = ((b.center - a.center).dot(axis), (eye - a.center).dot(axis));
        if d.abs() >= half + reach - 0.02 {
            return Some(e * d.signum() < half);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(what: usize, x: f64, y: f64, length_m: f64) -> Item {
        let center = Point::new(x, y);
        let shape = OrientedBox { center, heading_rad: 0.0, length_m, width_m: 2.0 };
        Item { what, shape, columns: [0.0, 1.0], distance_m: center.norm() }
    }

    fn order(items: Vec<Item>) -> Vec<usize> {
        let mut order = Order { items, ..Order::default() };
        order.back_to_front(Point::default()).iter().map(|item| item.what).collect()
    }

    #[test]
    fn a_long_vehicle_hides_what_is_beside_it_on_the_far_side_and_not_what_is_on_the_near_side() {
        // A lorry from 5 m to 30 m ahead in the left lane; cars at 12 m in the own lane and two lanes to the left.
        let lorry = item(0, 17.5, 3.5, 25.0);
        assert_eq!(order(vec![lorry, item(1, 12.0, 0.0, 4.0), item(2, 12.0, 7.0, 4.0)]), [2, 0, 1]);
    }

    #[test]
    fn a_row_comes_from_the_far_end() {
        let row: Vec<_> = (0..128).map(|i| item(i, 10.0 + 5.0 * i as f64, 0.0, 4.0)).collect();
        assert_eq!(order(row), (0..128).rev().collect::<Vec<_>>());
        let two_more = (0..130).map(|i| item(i, 10.0 + 5.0 * i as f64, 0.0, 4.0)).collect();
        assert_eq!(order(two_more), (0..128).rev().collect::<Vec<_>>());
    }
}
