//! Questions answered with evidence, or not at all: search, propose, check, and show only what the gate has cleared.
//!
//! What proposes is never what decides. Without a model, sentences of the documents that hold an answer are proposed; with
//! one, it names spans by number and may put them in its own words. Either way a proposal is a claim like any other, and the
//! text of every citation is pasted from the documents.

mod answer;
mod checking;
mod model;
mod reformulate;
mod sentences;

pub use answer::{Answered, AskError, Outcome, Question, Shown, Unverified, ask};
pub use checking::{Examined, Request, Warning, examine};
pub use model::{Prompt, Span, Writer, WriterError};
