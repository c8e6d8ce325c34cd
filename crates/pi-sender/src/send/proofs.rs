//! The cookies that prove to the relay that this is the camera's sender, for whichever transport connects next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::peer::{Cookie, Proof};

/// The proof of the last connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedProof(Arc<Mutex<Proof>>);

impl SharedProof {
    /// Takes the proof of a connection that the relay has just accepted.
    pub(crate) fn set(&self, proof: Proof) {
        *self.lock() = proof;
    }

    /// Takes the proof in a header; none keeps the last one.
    pub(crate) fn set_digits(&self, digits: Option<&str>) {
        if let Some(proof) = digits.and_then(Proof::parse) {
            self.set(proof);
        }
    }

    /// Returns the cookies.
    pub(crate) fn cookies(&self) -> Vec<Cookie> {
        self.lock().cookies().to_vec()
    }

    /// Returns the proof as a header holds it; `None` before the first connection.
    pub(crate) fn digits(&self) -> Option<String> {
        self.lock().to_digits()
    }

    fn lock(&self) -> MutexGuard<'_, Proof> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
