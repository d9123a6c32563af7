//! Checks that the verification reads every family.

use super::damage::{finds, first};
use super::*;
use crate::store::{Family, keys};

#[test]
fn a_damaged_value_of_any_family_is_found() {
    for &family in Family::ALL {
        // The rows of these two have no value, or one each of another kind.
        if matches!(family, Family::Meta | Family::Recorded) {
            continue;
        }
        let (_folder, store) = difficult();
        let (key, _) = first(&store, family, &[]);
        store.damage(family, &key, Some(&[77; 3]));
        let found = store.snapshot().verify(&mut |_| {});
        assert!(found.is_err() || found.unwrap().differences() > 0, "{family:?}");
    }
}

#[test]
fn an_outcome_that_would_never_be_deleted_is_found() {
    finds(Law::Commands, "is in no list", |store| {
        let (listed, _) = first(store, Family::Command, &keys::commands(1));
        store.damage(Family::Command, &listed, None);
    });
}
