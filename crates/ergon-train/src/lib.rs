//! Training on the device: data sets, explicit backward passes, AdamW, checkpoints that resume bit for bit.

pub mod driver;
