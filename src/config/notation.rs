//! The notation of durations, sizes and addresses, as modules for serde's `with` attribute.
//!
//! The errors of the crates that parse them say little about what was expected; these give an example.

/// A duration with its unit: `"20ms"`, `"1m 30s"`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserializer, Serializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        humantime_serde::deserialize(deserializer)
            .map_err(|_| D::Error::custom("expected a duration with its unit, such as \"10s\""))
    }

    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        humantime_serde::serialize(value, serializer)
    }
}

/// A number of bytes, with or without a unit: `"512MiB"`, `"1MB"`.
pub mod size {
    use bytesize::{ByteSize, GIB, KIB, MIB};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        ByteSize::deserialize(deserializer)
            .map(|size| size.as_u64())
            .map_err(|_| D::Error::custom("expected a size with its unit, such as \"64MiB\""))
    }

    /// Writes the size in the largest unit that represents it exactly. `ByteSize` itself would round.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        [(GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")]
            .into_iter()
            .find(|(unit, _)| *value > 0 && value.is_multiple_of(*unit))
            .map_or_else(|| format!("{value}B"), |(unit, name)| format!("{}{name}", value / unit))
            .serialize(serializer)
    }
}

/// An address and a port: `"127.0.0.1:8000"`, `"[::1]:8000"`.
pub mod address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn parse<E: Error>(text: &str) -> Result<SocketAddr, E> {
        let expected = "expected a numeric address and a port, such as \"127.0.0.1:8000\"";
        text.parse().map_err(|_| E::custom(expected))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
        parse(&String::deserialize(deserializer)?)
    }

    pub fn serialize<S: Serializer>(value: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
        value.serialize(serializer)
    }
}

/// An optional address and port; `None` is written as an empty text, because TOML has no null.
pub mod optional_address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() { Ok(None) } else { super::address::parse(&text).map(Some) }
    }

    #[expect(clippy::ref_option, reason = "serde calls it with a reference")]
    pub fn serialize<S: Serializer>(
        value: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|address| address.to_string()).unwrap_or_default().serialize(serializer)
    }
}
