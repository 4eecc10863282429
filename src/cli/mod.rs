//! The commands.

pub mod key;
pub mod secret;
pub mod token;
