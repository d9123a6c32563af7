//! The rules for parsing records, replaceable at run time.

use std::sync::{Arc, PoisonError, RwLock};

use crate::person::Rules;

/// The rules in force. Cheap to clone; a replacement shows in every clone.
#[derive(Clone, Debug)]
pub struct SharedRules(Arc<RwLock<Arc<Rules>>>);

impl SharedRules {
    /// Starts with these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    /// Replaces the rules, from the next batch on.
    pub fn replace(&self, rules: Rules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Returns the rules in force now.
    #[must_use]
    pub fn current(&self) -> Arc<Rules> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
