//! How many requests of one organisation are served at once: what one tenant asks leaves places for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The places that are taken, by organisation. It holds as many names as requests are under way.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<HashMap<String, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    organisation: String,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    /// A place for a request; none when the organisation has as many as it may.
    pub(super) fn take(self: &Arc<Self>, organisation: &str) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(organisation.to_owned()).or_insert(0);
        if *count >= self.most {
            return None;
        }
        *count += 1;
        Some(Place { places: Arc::clone(self), organisation: organisation.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.organisation) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.organisation);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_leaves_places_for_the_others() {
        let places = Places::new(2);
        let held = [places.take("a").expect("one"), places.take("a").expect("two")];
        assert!(places.take("a").is_none());
        let other = places.take("b").expect("another tenant");
        drop(held);
        assert!(places.take("a").is_some());
        drop(other);
        assert!(places.taken.lock().expect("whole").is_empty(), "nothing is kept of who has left");
    }
}
