//! A refusal: stable code, cause, remedy.

use std::borrow::Cow;
use std::fmt;

/// Why a request was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, machine-readable, `room.reason`.
    pub code: &'static str,
    /// What is wrong, with the numbers.
    pub cause: Cow<'static, str>,
    /// What to do next.
    pub remedy: &'static str,
}

impl Refusal {
    /// A refusal with a fixed text.
    pub const fn new(code: &'static str, cause: &'static str, remedy: &'static str) -> Self {
        Self { code, cause: Cow::Borrowed(cause), remedy }
    }
    /// A refusal whose cause carries figures.
    pub fn with(code: &'static str, cause: impl Into<String>, remedy: &'static str) -> Self {
        Self { code, cause: Cow::Owned(cause.into()), remedy }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.code, self.cause, self.remedy)
    }
}

impl std::error::Error for Refusal {}
