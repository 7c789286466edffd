//! The digital road: documents, retrieval, and claims checked against what the documents say.

pub mod answers;
pub mod ask;
pub mod copies;
pub mod documents;
pub mod text;
pub mod verify;
