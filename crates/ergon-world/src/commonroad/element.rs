//! XML elements as this reader wants them: children by name, numbers in range, and a place for every complaint. All that
//! is known of the XML library stands here.

use roxmltree::Node;

use super::error::{CommonRoadError, Place};
use crate::geometry::Point;

/// Coordinates: UTM northings reach 1e7.
pub(super) const COORDINATE_MAX_M: f64 = 1e8;
/// Time steps: a day at 0.1 s.
pub(super) const STEP_MAX: i64 = 864_000;
/// Headings: files count turns.
pub(super) const ANGLE_MAX_RAD: f64 = 1e3;

/// Any result of reading.
pub(super) type Read<T> = Result<T, CommonRoadError>;

/// An element of the file.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    node: Node<'a, 'a>,
}

impl<'a> Element<'a> {
    /// The root element of a document.
    pub(super) fn root(document: &'a roxmltree::Document<'a>) -> Element<'a> {
        Element { node: document.root_element() }
    }

    /// Its name, without namespace.
    pub(super) fn name(self) -> &'a str {
        self.node.tag_name().name()
    }

    /// Its child elements.
    pub(super) fn elements(self) -> impl Iterator<Item = Element<'a>> {
        self.node.children().filter(Node::is_element).map(|node| Element { node })
    }

    /// Its child elements with a name.
    pub(super) fn all(self, name: &'static str) -> impl Iterator<Item = Element<'a>> {
        self.elements().filter(move |element| element.name() == name)
    }

    /// Its first child element with a name.
    pub(super) fn find(self, name: &'static str) -> Option<Element<'a>> {
        self.all(name).next()
    }

    /// Its first child element with a name, which must be there.
    pub(super) fn need(self, name: &'static str) -> Read<Element<'a>> {
        self.find(name).ok_or_else(|| self.missing(name))
    }

    /// Its text without white space around it; empty if there is none.
    pub(super) fn text(self) -> &'a str {
        self.node.text().unwrap_or_default().trim()
    }

    /// An attribute.
    pub(super) fn attribute(self, name: &str) -> Option<&'a str> {
        self.node.attribute(name)
    }

    /// Where it stands.
    pub(super) fn place(self) -> Place {
        let mut names = Vec::new();
        for node in self.node.ancestors().filter(Node::is_element) {
            let name = node.tag_name().name();
            match node.attribute("id") {
                Some(id) => {
                    names.push(format!("{name} {}", short(id)));
                    break;
                }
                None => names.push(name.to_owned()),
            }
        }
        names.reverse();
        let line = self.node.document().text_pos_at(self.node.range().start).row;
        Place { element: names.join(" > "), line }
    }

    /// The complaint that a part of it is not there.
    pub(super) fn missing(self, wanted: &'static str) -> CommonRoadError {
        CommonRoadError::Missing { place: self.place(), wanted }
    }

    /// The complaint that its text is none of the words allowed.
    pub(super) fn wrong_word(self, text: &str, allowed: &'static str) -> CommonRoadError {
        CommonRoadError::Word { place: self.place(), text: short(text), allowed }
    }

    fn parse(self, text: &str, low: f64, high: f64) -> Read<f64> {
        let value = text.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        let value =
            value.ok_or_else(|| CommonRoadError::NotANumber { place: self.place(), text: short(text) })?;
        self.within(value, low, high)
    }

    /// A number, if it is within the bounds.
    pub(super) fn within(self, value: f64, low: f64, high: f64) -> Read<f64> {
        if (low..=high).contains(&value) {
            Ok(value)
        } else {
            Err(CommonRoadError::Absurd { place: self.place(), value, low, high })
        }
    }

    /// Its text as a number within bounds.
    pub(super) fn number(self, low: f64, high: f64) -> Read<f64> {
        self.parse(self.text(), low, high)
    }

    /// An attribute as a number within bounds.
    pub(super) fn number_attribute(self, name: &'static str, low: f64, high: f64) -> Read<f64> {
        self.parse(self.attribute(name).ok_or_else(|| self.missing(name))?, low, high)
    }

    /// An attribute as the number of another element.
    pub(super) fn id_attribute(self, name: &'static str) -> Read<i64> {
        let text = self.attribute(name).ok_or_else(|| self.missing(name))?;
        let wrong = || CommonRoadError::NotANumber { place: self.place(), text: short(text) };
        text.trim().parse::<i64>().map_err(|_| wrong())
    }

    /// `exact`, or both ends of an interval, which must not be reversed unless `turns` says that it may run over.
    pub(super) fn interval(self, low: f64, high: f64, turns: bool) -> Read<[f64; 2]> {
        if let Some(exact) = self.find("exact") {
            let value = exact.number(low, high)?;
            return Ok([value, value]);
        }
        let start = self.find("intervalStart").ok_or_else(|| self.missing("exact"))?.number(low, high)?;
        let end = self.need("intervalEnd")?.number(low, high)?;
        if start > end && !turns {
            return Err(CommonRoadError::Reversed { place: self.place(), start, end });
        }
        Ok([start, end])
    }

    /// The exact value or the middle of the interval.
    pub(super) fn middle(self, limit: f64) -> Read<f64> {
        self.interval(-limit, limit, false).map(|[start, end]| 0.5 * (start + end))
    }

    /// Time steps: the exact one twice, or the ends of the interval. Fractions are refused.
    pub(super) fn steps(self) -> Read<[i64; 2]> {
        let ends = self.interval(-(STEP_MAX as f64), STEP_MAX as f64, false)?;
        for value in ends {
            if value.fract() != 0.0 {
                return Err(CommonRoadError::NotANumber {
                    place: self.place(),
                    text: format!("step {value}"),
                });
            }
        }
        Ok(ends.map(|value| value as i64))
    }

    /// Its children `x` and `y`; a height is left out.
    pub(super) fn point(self) -> Read<Point> {
        let coordinate = |name| self.need(name)?.number(-COORDINATE_MAX_M, COORDINATE_MAX_M);
        Ok(Point::new(coordinate("x")?, coordinate("y")?))
    }

    /// All its `point` children.
    pub(super) fn points(self) -> Read<Vec<Point>> {
        self.all("point").map(Element::point).collect()
    }
}

/// The start of a text from the file, for messages.
pub(super) fn short(text: &str) -> String {
    text.chars().take(40).collect()
}
