//! Which partitions of the topics an instance owns.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::person::record::FIRST_COMMAND_TOPIC;

/// The partitions that one instance reads, written `all` or `ordinal/of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Partitions {
    /// Every partition: there is one instance.
    All,
    /// Partition `p` when `p mod of = ordinal`: there are `of` instances.
    Share {
        /// Which of the instances this is, from 0. Less than `of`.
        ordinal: u32,
        /// How many instances there are. At least one.
        of: u32,
    },
}

impl Partitions {
    /// Whether this instance reads a partition, given its number and that of its topic. Every instance reads
    /// all commands: which instance owns a command's person is not known beforehand.
    #[must_use]
    pub fn reads(self, topic: u16, partition: u32) -> bool {
        topic >= FIRST_COMMAND_TOPIC || self.owns(partition)
    }

    /// Whether this instance owns the event partition with this number.
    #[must_use]
    pub fn owns(self, partition: u32) -> bool {
        match self {
            Self::All => true,
            Self::Share { ordinal, of } => partition % of == ordinal,
        }
    }
}

/// The text is neither `all` nor an ordinal with a larger number of instances.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected \"all\", or \"ordinal/of\" with an ordinal from 0 that is less than the number of \
     instances, such as \"0/3\""
)]
pub struct Error;

impl FromStr for Partitions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "all" {
            return Ok(Self::All);
        }
        let (ordinal, of) = text.split_once('/').ok_or(Error)?;
        let ordinal = ordinal.trim().parse().map_err(|_| Error)?;
        let of = of.trim().parse().map_err(|_| Error)?;
        if ordinal < of { Ok(Self::Share { ordinal, of }) } else { Err(Error) }
    }
}

impl TryFrom<String> for Partitions {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl fmt::Display for Partitions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Share { ordinal, of } => write!(formatter, "{ordinal}/{of}"),
        }
    }
}

impl From<Partitions> for String {
    fn from(partitions: Partitions) -> Self {
        partitions.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_exactly_one_owner() {
        let shares: Vec<Partitions> =
            ["0/3", "1/3", "2/3"].iter().map(|text| text.parse().expect("a share")).collect();
        for partition in 0..20 {
            let owners = shares.iter().filter(|share| share.owns(partition)).count();
            assert_eq!(owners, 1, "partition {partition}");
            assert!(Partitions::All.owns(partition));
        }
    }

    #[test]
    fn an_invalid_share_is_refused() {
        for text in ["", "ALL", "1", "3/3", "4/3", "0/0", "-1/3", "1/", "/3", "a/b", "1/3/5"] {
            assert!(text.parse::<Partitions>().is_err(), "{text}");
        }
    }
}
