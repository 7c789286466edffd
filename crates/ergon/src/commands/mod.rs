//! One file or folder per command.

pub(crate) mod ask;
pub(crate) mod bench;
pub(crate) mod chat;
pub(crate) mod convert;
pub(crate) mod drive;
pub(crate) mod evidence;
pub(crate) mod generate;
pub(crate) mod inspect;
pub(crate) mod score;
pub(crate) mod train;
pub(crate) mod verify;
