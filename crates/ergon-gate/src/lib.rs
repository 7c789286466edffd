//! The check before an effect: a proposal, what is known, and limits go in; [`Cleared`] or a refusal with its reasons
//! comes out.
//!
//! Pure decision: no clock, no IO, no randomness. Age and latency reach the gate as data, so the same input gives the same
//! verdict. Only this crate can make a [`Cleared`]; a vehicle, a bus, a tool and a reader are given nothing else.

mod cleared;
pub mod evidence;
pub mod motion;

pub use cleared::Cleared;
