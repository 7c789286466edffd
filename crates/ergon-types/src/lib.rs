//! The nouns that cross crate walls: plain data with checked constructors, no logic.

mod byte_size;
mod message;
mod weight_format;

pub use byte_size::{ByteSize, ParseByteSizeError};
pub use message::{FinishReason, Message, Role};
pub use weight_format::WeightFormat;
