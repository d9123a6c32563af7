//! Tests that columns and distinct ids with changes applied equal those that are read again.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const JSON: [&str; 11] = [
    "\"Team\"",
    "\"free\"",
    "1",
    "null",
    "",
    "\"SS\u{df}\u{130}\"",
    "{\"a\":\"Te\"}",
    "\"a\\nb\"",
    "{\"a\":\"b\"}",
    "\"a \\\"quote\\\"\"",
    "\"nullable\"",
];

fn whole(rows: &BTreeMap<PersonId, &str>) -> MemoryColumn {
    let mut rows = rows.iter();
    let next = || Ok(rows.next().map(|(person, row)| (*person, row.as_bytes().to_vec())));
    MemoryColumn::of(next, usize::MAX).unwrap().unwrap()
}

/// Asserts that a column returns these rows, whatever is asked of it.
fn is(
    whole: &MemoryColumn,
    rows: &BTreeMap<PersonId, &str>,
) -> std::result::Result<(), TestCaseError> {
    let all = whole.range(&(0..PersonId::MAX));
    let found = all.clone().map(|at| (whole.person(at), whole.row(at)));
    prop_assert!(found.eq(rows.iter().map(|(person, row)| (*person, row.as_bytes()))));
    for at in all.clone() {
        for other in all.clone().filter(|_| whole.code(at).is_some()) {
            let same = whole.code(at) == whole.code(other);
            prop_assert!(!same || whole.row(at) == whole.row(other), "one number, two values");
        }
        prop_assert_eq!(whole.first_not_before(whole.person(at), all.clone()), at);
    }
    let part = whole.range(&(3..7));
    prop_assert!(part.map(|at| whole.person(at)).eq(rows.range(3..7).map(|(person, _)| *person)));
    for text in ["te", "SS", "\u{130}", "", "b", "x", "\"", "\"a\"", "\\", "null"] {
        let part = Needle::new(text);
        let due = rows.iter().filter(|(person, row)| match **row {
            "" => **person % 2 == 0,
            "null" => false,
            row => part.is_in(&Value::from_json(row).text()),
        });
        let found = whole.having(&part, |person| Ok(person % 2 == 0)).unwrap();
        prop_assert!(found.iter().eq(due.map(|(person, _)| person)), "{text}: {found:?}");
    }
    let (counted, long) = whole.counted();
    let mut sums = BTreeMap::new();
    for (row, count) in counted {
        *sums.entry(row).or_insert(0) += count;
    }
    prop_assert!(sums.values().sum::<u64>() + long.len() as u64 == rows.len() as u64);
    for (row, count) in sums {
        prop_assert_eq!(
            rows.values().filter(|other| other.as_bytes() == row).count() as u64,
            count
        );
    }
    Ok(())
}

#[test]
fn a_change_takes_no_more_room_than_it_brings() {
    let texts: Vec<_> = (0..10_000).map(|number| format!("\"value {number}\"")).collect();
    let before = whole(&(0..).zip(texts.iter().map(String::as_str)).collect());
    let change = (7_u64.to_be_bytes().to_vec(), Some(b"\"another value\"".to_vec()));
    let after = before.with(&RowChanges::from([change])).unwrap();
    assert!(after.bytes() < before.bytes() + before.bytes() / 100, "{}", after.bytes());
    let mut ids = texts.iter().map(|text| Ok(Some(text.clone().into_bytes()))).collect::<Vec<_>>();
    ids.sort_by_key(|id| id.as_ref().unwrap().clone());
    let mut ids = ids.into_iter();
    let before = MemoryIds::of(|| ids.next().unwrap_or(Ok(None)), usize::MAX).unwrap().unwrap();
    let after = before.with(&RowChanges::from([(b"another".to_vec(), Some(Vec::new()))])).unwrap();
    assert!(after.bytes() < before.bytes() + before.bytes() / 100, "{}", after.bytes());
}

proptest! {
    #[test]
    fn a_column_with_changes_is_the_column_that_is_read_anew(
        first in prop::collection::btree_map(0_u64..12, 0..JSON.len(), 0..12),
        changes in prop::collection::vec(
            prop::collection::btree_map(0_u64..12, prop::option::of(0..JSON.len()), 0..6), 0..6),
    ) {
        let mut rows: BTreeMap<_, _> =
            first.into_iter().map(|(person, json)| (person, JSON[json])).collect();
        let mut column = whole(&rows);
        is(&column, &rows)?;
        for changes in changes {
            let mut due = RowChanges::new();
            for (person, json) in changes {
                let json = json.map(|json| JSON[json]);
                due.insert(person.to_be_bytes().to_vec(), json.map(Into::into));
                match json {
                    Some(json) => _ = rows.insert(person, json),
                    None => _ = rows.remove(&person),
                }
            }
            column = column.with(&due).unwrap_or_else(|| whole(&rows));
            is(&column, &rows)?;
        }
    }

    #[test]
    fn ids_with_changes_are_the_ids_that_are_read_anew(
        first in prop::collection::btree_set("[aB\u{130}]{0,3}", 0..12),
        changes in prop::collection::btree_map("[aB\u{130}]{0,3}", any::<bool>(), 0..12),
        part in "[aAbB\u{130}]{0,2}",
    ) {
        let mut given = first.iter();
        let next = || Ok(given.next().map(|id| id.clone().into_bytes()));
        let ids = MemoryIds::of(next, usize::MAX).unwrap().unwrap();
        let due: RowChanges = changes
            .iter()
            .map(|(id, stays)| (id.clone().into_bytes(), stays.then(Vec::new)))
            .collect();
        let mut now = first.clone();
        for (id, stays) in changes {
            if stays { now.insert(id); } else { now.remove(&id); }
        }
        let part = Needle::new(&part);
        for (ids, due) in [(&ids, &first), (&ids.with(&due).unwrap(), &now)] {
            let bytes = |id: &String| id.as_bytes().to_vec();
            let all: Vec<_> = due.iter().map(bytes).collect();
            prop_assert_eq!(ids.having(None), all);
            let having: Vec<_> = due.iter().filter(|id| part.is_in(id)).map(bytes).collect();
            prop_assert_eq!(ids.having(Some(&part)), having);
        }
    }
}

#[test]
fn values_that_nobody_has_any_more_are_not_kept_for_ever() {
    let rows = BTreeMap::from([(1, "1")]);
    let mut column = whole(&rows);
    for number in 0..100 {
        let row = Some(number.to_string().into_bytes());
        let changes = RowChanges::from([(1_u64.to_be_bytes().to_vec(), row)]);
        match column.with(&changes) {
            Some(next) => column = next,
            None => return,
        }
    }
    panic!("{} values of one person", column.values.texts.len());
}

#[test]
fn a_column_that_is_too_large_is_not_kept() {
    let mut persons = 0..100_u64;
    let next = || Ok(persons.next().map(|person| (person, vec![b'1'; 10])));
    assert!(MemoryColumn::of(next, 1_000).unwrap().is_none());
    let mut ids = 0..100_u64;
    assert!(MemoryIds::of(|| Ok(ids.next().map(|_| vec![b'a'; 10])), 1_000).unwrap().is_none());
}
