//! `personview verify`: checks that a store is consistent, even while a server runs on it.

use std::io::Write;

use anyhow::bail;

use super::pulse::Pulse;
use crate::config::Config;
use crate::store::Store;
use crate::store::verify::Progress;

const BAR: &str = "{bar:40} {human_pos} of about {human_len} rows, {per_sec}, {eta} left";

/// Verifies the configured store and prints a line for each law.
///
/// # Errors
///
/// If the store cannot be read, or there are differences; the first ones are printed.
pub fn run(config: &Config, output: &mut impl Write) -> anyhow::Result<()> {
    let store = Store::open_to_read(&config.store_config())?;
    let mut pulse = Pulse::new("verifying", BAR);
    let report =
        store.snapshot().verify(&mut |Progress { rows, about }| pulse.tick(rows, Some(about)));
    pulse.end();
    let report = report?;
    for checked in &report.laws {
        writeln!(output, "{checked}")?;
    }
    for difference in &report.first {
        writeln!(output, "{difference}")?;
    }
    match report.differences() {
        0 => Ok(()),
        1 => bail!("the store is inconsistent: 1 difference"),
        many => bail!(
            "the store is inconsistent: {many} differences, of which the first {} are shown",
            report.first.len()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(path: &std::path::Path) -> Config {
        let mut config = Config::load(None, std::iter::empty()).expect("the defaults");
        config.store.path = path.to_owned();
        config
    }

    #[test]
    fn a_store_in_use_is_verified() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let _writer = Store::open(&config.store_config()).expect("a store");
        let mut output = Vec::new();
        run(&config, &mut output).expect("no differences");
        let output = String::from_utf8(output).expect("text");
        assert!(output.contains("heads: 0 persons, 0 properties, 0 rows: ok\n"), "{output}");
        let laws = crate::store::verify::Law::ALL.len();
        assert_eq!(output.lines().count(), laws, "{output}");
    }

    #[test]
    fn differences_are_told_and_fail() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = config(folder.path());
        let writer = Store::open(&config.store_config()).expect("a store");
        let mut transaction = writer.transaction();
        let life = crate::person::Life { person: 7, number: 0 };
        let joined = crate::store::Joined::Id("ann".to_owned());
        let time = crate::person::Time(0);
        let member = crate::store::Member { joined, from: time, known: time, left: None };
        transaction.put_member(1, life, 0, &member);
        transaction.commit().expect("committed");
        let mut output = Vec::new();
        let error = run(&config, &mut output).expect_err("differences").to_string();
        assert!(error.contains("2 differences"), "{error}");
        let output = String::from_utf8(output).expect("text");
        assert!(output.contains("project 1, person 7: ownership: "), "{output}");
    }
}
