//! API keys: which projects and scopes a secret gives access to.
//!
//! Secrets are not stored, only their SHA-256. A plain hash is enough, since a secret is forty random
//! characters rather than a password that a person chose, so it cannot be guessed from its hash.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use rand::SeedableRng;
use rand::distr::{Alphanumeric, SampleString};
use rand::rngs::{OsRng, StdRng};
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::rate::Rate;

/// Every name that a key's `scopes` may contain.
pub const SCOPE_NAMES: [&str; 6] =
    ["person:read", "person:write", "activity_log:read", "activity_log:write", "project:read", "*"];

/// The prefix of every generated secret, so that a leaked one is recognised as a key.
const SECRET_PREFIX: &str = "phx_";
/// The number of random characters of a generated secret, each one of 62: about 238 bits.
const SECRET_CHARACTERS: usize = 40;

/// Why a key is invalid or could not be generated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name is not a scope.
    #[error("`{0}` is not a scope; use some of: {known}", known = SCOPE_NAMES.join(", "))]
    Scope(String),
    /// The text is not a SHA-256 in hexadecimal digits.
    #[error("a SHA-256 is 64 hexadecimal digits; `personview key hash` prints them for a key")]
    Hash,
    /// The operating system gave no random bytes. There is no other source for them.
    #[error("the operating system gave no random bytes")]
    Random(#[from] rand::rand_core::OsError),
}

/// A right that a route requires.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
)]
pub enum Scope {
    /// Read persons, now and in the past.
    #[strum(serialize = "person:read")]
    PersonRead,
    /// Change persons. Includes reading them.
    #[strum(serialize = "person:write")]
    PersonWrite,
    /// Read who changed what.
    #[strum(serialize = "activity_log:read")]
    ActivityLogRead,
    /// Change the activity log. Includes reading it.
    #[strum(serialize = "activity_log:write")]
    ActivityLogWrite,
    /// Read projects.
    #[strum(serialize = "project:read")]
    ProjectRead,
}

impl Scope {
    /// All scopes, which `*` stands for.
    pub const ALL: [Self; 5] = [
        Self::PersonRead,
        Self::PersonWrite,
        Self::ActivityLogRead,
        Self::ActivityLogWrite,
        Self::ProjectRead,
    ];

    /// The scope as configurations and error messages write it, such as `person:read`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// The scope that this one includes, if any.
    const fn included(self) -> Option<Self> {
        match self {
            Self::PersonWrite => Some(Self::PersonRead),
            Self::ActivityLogWrite => Some(Self::ActivityLogRead),
            Self::PersonRead | Self::ActivityLogRead | Self::ProjectRead => None,
        }
    }
}

/// The scopes of a key, with those that they include.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Parses scopes from their names; `*` is all of them.
    ///
    /// # Errors
    ///
    /// [`Error::Scope`] for the first name that is not one of [`SCOPE_NAMES`].
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut scopes = BTreeSet::new();
        for name in names {
            if name == "*" {
                scopes.extend(Scope::ALL);
            } else {
                let scope = Scope::from_str(name).map_err(|_| Error::Scope(name.to_owned()))?;
                scopes.insert(scope);
                scopes.extend(scope.included());
            }
        }
        Ok(Self(scopes))
    }

    /// Whether a route that requires `scope` may be used.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

/// A key as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The name of the key, by which the activity log names the author of a write.
    pub label: String,
    /// SHA-256 of the secret.
    pub sha256: [u8; 32],
    /// What it may do.
    pub scopes: Scopes,
    /// The ids of the projects that it gives access to. Never empty if it comes from a checked configuration.
    pub projects: BTreeSet<u32>,
    /// The most requests per minute; `None` is unlimited.
    pub requests_per_minute: Option<NonZeroU32>,
}

/// All keys of a server.
#[derive(Debug, Clone, Default)]
pub struct Keys(Arc<[RatedKey]>);

/// A key and its rate limiter, if it has one.
#[derive(Debug)]
struct RatedKey {
    key: ApiKey,
    rate: Option<Rate>,
}

impl Keys {
    /// Creates the set from keys in any order. If two have the same hash, the later one counts.
    #[must_use]
    pub fn new(keys: Vec<ApiKey>) -> Self {
        let held = keys.into_iter().map(|key| {
            let rate = key.requests_per_minute.map(Rate::per_minute);
            RatedKey { key, rate }
        });
        Self(held.collect())
    }

    /// Returns the key with this secret.
    #[cfg(test)]
    #[must_use]
    pub fn find(&self, secret: &str) -> Option<&ApiKey> {
        self.with_rate(secret).map(|(key, _)| key)
    }

    /// Returns the key with this secret and its rate limiter, if it has one.
    ///
    /// Every key is compared in full, so that the time taken does not reveal how much of a guess was
    /// right or which key matched.
    #[must_use]
    pub(super) fn with_rate(&self, secret: &str) -> Option<(&ApiKey, Option<&Rate>)> {
        let sha256 = hash(secret);
        let mut found = u64::MAX;
        for (index, held) in (0_u64..).zip(self.0.iter()) {
            found.conditional_assign(&index, held.key.sha256.ct_eq(&sha256));
        }
        let held = usize::try_from(found).ok().and_then(|index| self.0.get(index))?;
        Some((&held.key, held.rate.as_ref()))
    }
}

/// Generates a secret: `phx_` and 40 characters of A–Z, a–z and 0–9, from a generator that the operating
/// system seeds with 256 bits.
///
/// # Errors
///
/// [`Error::Random`] if the operating system gives no random bytes.
pub fn generate_secret() -> Result<String, Error> {
    let mut secret = SECRET_PREFIX.to_owned();
    let mut generator = StdRng::try_from_rng(&mut OsRng)?;
    Alphanumeric.append_string(&mut generator, &mut secret, SECRET_CHARACTERS);
    Ok(secret)
}

/// Returns the SHA-256 of a secret, which is stored in its place.
#[must_use]
pub fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// Formats a hash as configurations write it: 64 hexadecimal digits, in lower case.
#[must_use]
pub fn to_hex(sha256: &[u8; 32]) -> String {
    hex::encode(sha256)
}

/// Parses a hash from 64 hexadecimal digits, in lower or upper case.
///
/// # Errors
///
/// [`Error::Hash`] for anything else. It does not repeat the text, which could be a secret that
/// was put in the wrong place.
pub fn from_hex(text: &str) -> Result<[u8; 32], Error> {
    let mut sha256 = [0; 32];
    hex::decode_to_slice(text, &mut sha256).map_err(|_| Error::Hash)?;
    Ok(sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(label: &str, secret: &str, scopes: &[&str]) -> ApiKey {
        ApiKey {
            label: label.to_owned(),
            sha256: hash(secret),
            scopes: Scopes::parse(scopes.iter().copied()).expect("known scopes"),
            projects: BTreeSet::from([1]),
            requests_per_minute: None,
        }
    }

    #[test]
    fn a_key_is_found_by_its_secret_alone() {
        let keys = Keys::new(vec![
            key("first", "phx_a", &["*"]),
            key("second", "phx_b", &["*"]),
            key("third", "phx_c", &["*"]),
        ]);
        let label = |secret| keys.with_rate(secret).map(|(key, _)| key.label.as_str());

        assert_eq!(label("phx_a"), Some("first"));
        assert_eq!(label("phx_b"), Some("second"));
        assert_eq!(label("phx_c"), Some("third"));
        assert_eq!(label("phx_d"), None);
        assert_eq!(label("phx_"), None);
        assert_eq!(label(""), None);
        assert_eq!(label(&to_hex(&hash("phx_a"))), None, "the hash is no secret");
    }

    #[test]
    fn no_keys_let_nobody_in() {
        assert!(Keys::default().with_rate("").is_none());
    }

    #[test]
    fn writing_includes_reading_and_nothing_else() {
        let scopes = Scopes::parse(["person:write"]).expect("a known scope");
        assert!(scopes.allows(Scope::PersonRead));
        assert!(scopes.allows(Scope::PersonWrite));
        assert!(!scopes.allows(Scope::ActivityLogRead));
        assert!(!scopes.allows(Scope::ProjectRead));

        let scopes = Scopes::parse(["person:read"]).expect("a known scope");
        assert!(!scopes.allows(Scope::PersonWrite));
    }

    #[test]
    fn a_star_is_every_scope_and_no_scope_is_none() {
        let all = Scopes::parse(["*"]).expect("a known scope");
        assert!(Scope::ALL.into_iter().all(|scope| all.allows(scope)));
        assert!(!Scope::ALL.into_iter().any(|scope| Scopes::default().allows(scope)));
    }

    #[test]
    fn every_scope_has_a_name_that_reads_back() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_str(scope.name()).expect("its own name"), scope);
            assert!(SCOPE_NAMES.contains(&scope.name()));
        }
        for name in ["persons:read", "person", "Person:Read", ""] {
            assert!(Scopes::parse([name]).is_err(), "{name}");
        }
    }

    #[test]
    fn secrets_are_new_each_time_and_of_the_known_form() {
        let secret = generate_secret().expect("a random generator");
        let random = secret.strip_prefix("phx_").expect("the prefix");
        assert_eq!(random.len(), 40);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(secret, generate_secret().expect("a random generator"));
    }

    #[test]
    fn hashes_are_plain_sha256_and_read_back_from_hex() {
        let hex = "a906981b091132060161999629c98475da45efb03b980e60185b6ddca09689d1";
        assert_eq!(to_hex(&hash("phx_local")), hex);
        assert_eq!(from_hex(hex).expect("a hash"), hash("phx_local"));
        assert_eq!(from_hex(&hex.to_uppercase()).expect("a hash"), hash("phx_local"));
    }

    #[test]
    fn an_invalid_hash_is_refused_without_being_repeated() {
        for text in ["", "phx_local", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            let error = from_hex(text).expect_err("no hash").to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
