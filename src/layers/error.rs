//! Why something can't be done with a layer.
#![forbid(unsafe_code)]

use std::fmt;

use nix::errno::Errno;

use crate::diag::{Diagnose, Location, errno_words, escape, quote};

/// Why something can't be done with a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayersError {
    /// There is none of that name.
    NotFound {
        /// As typed.
        name: String,
    },
    /// A sandbox writes it.
    InUse {
        /// What was wanted.
        verb: &'static str,
        /// Its name.
        name: String,
    },
    /// Carrying it over to its directory was begun, and only it says how that ends.
    HalfApplied {
        /// What was wanted.
        verb: &'static str,
        /// Its name.
        name: String,
    },
    /// The kernel says no.
    System {
        /// What was wanted.
        verb: &'static str,
        /// Its name; where all of them are, for all of them.
        name: String,
        /// Why.
        errno: Errno,
    },
}

impl LayersError {
    /// Whether it is the answer no, rather than a failure.
    pub fn is_negative(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

impl fmt::Display for LayersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { name } => write!(f, "cannot find a layer {}", quote(name)),
            Self::InUse { verb, name } => {
                write!(f, "cannot {verb} the layer {}: a sandbox writes it", quote(name))
            }
            Self::HalfApplied { verb, name } => write!(
                f,
                "cannot {verb} the layer {}: its changes have been applied in part, and it has the rest",
                quote(name)
            ),
            Self::System { verb, name, errno } => {
                write!(f, "cannot {verb} the layer {}: {}", quote(name), errno_words(*errno))
            }
        }
    }
}

impl Diagnose for LayersError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { .. } => Some("`sbx layers` lists the ones that there are".to_owned()),
            Self::InUse { .. } => Some("`sbx ps` lists the sandboxes that run; wait for its end".to_owned()),
            Self::HalfApplied { name, .. } => Some(format!("finish that first: sbx apply {}", escape(name))),
            Self::System { .. } => None,
        }
    }

    fn location(&self) -> Option<&Location> {
        None
    }
}
