//! Secrets: new values, and who reads them.

mod consumers;
mod rotate;
mod rotation;
mod value;

pub(crate) use rotate::Rotate;
pub use value::Random;
