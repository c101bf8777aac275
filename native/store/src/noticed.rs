//! Damage that reads met, each told once.

use crate::error::StoreError;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// Distinct damages told; a store with more has had its warning.
const TOLD_MAX: usize = 1000;

/// Told of damage on the thread that met it: must be quick and must not use the store.
pub type OnDamage = Arc<dyn Fn(&str) + Send + Sync>;

/// What was met so far, and who is told.
#[derive(Default)]
pub(crate) struct Noticed {
    told: Mutex<FxHashSet<String>>,
    listener: Mutex<Option<OnDamage>>,
}

impl Noticed {
    /// Tells `error` to the listener, if it is damage and new.
    pub(crate) fn note(&self, error: &StoreError) {
        if !error.is_damage() {
            return;
        }
        let message = error.to_string();
        let mut told = self.told.lock();
        if told.len() < TOLD_MAX && told.insert(message.clone()) {
            drop(told);
            let listener = self.listener.lock().clone();
            if let Some(listener) = listener {
                listener(&message);
            }
        }
    }

    /// From now on damage is told to `listener`; what was met before, at once.
    pub(crate) fn listen(&self, listener: OnDamage) {
        for message in self.told.lock().iter() {
            listener(message);
        }
        *self.listener.lock() = Some(listener);
    }
}
