//! A gate in front of an account: who may send a request now, and who has to wait.

use std::any::Any;
use std::time::Duration;

/// What holds a place behind the gate. Dropping it gives the place back.
pub type Permit = Box<dyn Any + Send>;

/// The answer of a gate.
pub enum Passage {
    /// Go ahead, and keep the permit as long as the request is under way.
    Open(Permit),
    /// Not now.
    Wait(Wait),
}

/// Why a request has to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How long at least; ask again then.
    pub time: Duration,
    /// What is waited for.
    pub why: String,
}

/// Lets requests of one account through, at a rate and in a number that it decides.
pub trait Gate: Send + Sync {
    /// Asks for one request to go through. Never waits by itself.
    fn poll(&self) -> Passage;
}
