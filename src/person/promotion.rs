//! Event properties that are promoted to properties of the person, and properties that change too often for a
//! change to be worth a row of its own.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use hashbrown::{HashMap, HashSet};

/// The names under which a promoted event property is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// Its own name, for the newest value.
    pub name: Ranked,
    /// `$initial_…`, for the first value.
    pub initial: Ranked,
}

/// A name under which a promoted value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// The name.
    pub text: &'static str,
    /// Its rank among all such names, since sorting by numbers is cheaper than sorting by texts.
    pub rank: usize,
}

/// Pairs each name with the name of its first value.
macro_rules! names {
    ($prefix:literal $($name:literal)*) => {
        [$((concat!($prefix, $name), concat!("$initial_", $name))),*]
    };
}

const DEVICE: [(&str, &str); 19] = names!(
    "$"
    "app_build" "app_name" "app_namespace" "app_version" "browser" "browser_version" "device_type"
    "current_url" "pathname" "os" "os_name" "os_version" "referring_domain" "referrer"
    "screen_height" "screen_width" "viewport_height" "viewport_width" "raw_user_agent"
);

const CAMPAIGN: [(&str, &str); 25] = names!(
    ""
    "utm_source" "utm_medium" "utm_campaign" "utm_content" "utm_name" "utm_term" "gclid"
    "gad_source" "gclsrc" "dclid" "gbraid" "wbraid" "fbclid" "msclkid" "twclid" "li_fat_id"
    "mc_cid" "igshid" "ttclid" "rdt_cid" "irclid" "_kx" "epik" "qclid" "sccid"
);

/// The operating system's name as older SDKs send it. It fills `$os` and is not stored itself.
pub const OS_NAME: &str = "$os_name";

/// The operating system, filled from [`OS_NAME`] if it is absent.
pub const OS: &str = "$os";

static PROMOTED: LazyLock<HashMap<&str, Promoted>> = LazyLock::new(|| {
    let all = || DEVICE.into_iter().chain(CAMPAIGN);
    let sorted: BTreeSet<_> = all().flat_map(|(name, initial)| [name, initial]).collect();
    let ranked = |text| Ranked { text, rank: sorted.range(..text).count() };
    let names = |(name, initial)| Promoted { name: ranked(name), initial: ranked(initial) };
    all().map(|of| (of.0, names(of))).collect()
});

static VOLATILE: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    HashSet::from_iter([
        "$current_url",
        "$pathname",
        "$referring_domain",
        "$referrer",
        "$screen_height",
        "$screen_width",
        "$viewport_height",
        "$viewport_width",
        "$browser",
        "$browser_version",
        "$device_type",
        "$raw_user_agent",
        "$os",
        "$os_name",
        "$os_version",
        "$geoip_postal_code",
        "$geoip_time_zone",
        "$geoip_latitude",
        "$geoip_longitude",
        "$geoip_accuracy_radius",
        "$geoip_subdivision_1_code",
        "$geoip_subdivision_1_name",
        "$geoip_subdivision_2_code",
        "$geoip_subdivision_2_name",
        "$geoip_subdivision_3_code",
        "$geoip_subdivision_3_name",
        "$geoip_city_confidence",
        "$geoip_country_confidence",
        "$geoip_postal_code_confidence",
        "$geoip_subdivision_1_confidence",
        "$geoip_subdivision_2_confidence",
    ])
});

/// Returns how an event property of this name is promoted, if it is.
#[must_use]
pub fn promoted(name: &str) -> Option<Promoted> {
    PROMOTED.get(name).copied()
}

/// Returns whether a change to this property alone is not worth recording.
#[must_use]
pub fn is_volatile(name: &str) -> bool {
    name.starts_with('$') && VOLATILE.contains(name)
}

/// Returns whether the property describes an operating system. That of a server is not the person's.
#[must_use]
pub fn is_operating_system(name: &str) -> bool {
    matches!(name, "$os" | "$os_name" | "$os_version")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial_names_lose_the_dollar_of_the_name() {
        let initial = |name| Some(promoted(name)?.initial.text);
        assert_eq!(initial("$browser"), Some("$initial_browser"));
        assert_eq!(initial("utm_source"), Some("$initial_utm_source"));
        assert_eq!(initial("_kx"), Some("$initial__kx"));
        assert_eq!(initial(OS), Some("$initial_os"));
        assert_eq!(initial("$host"), None);
    }

    #[test]
    fn both_lists_are_whole() {
        assert_eq!(PROMOTED.len(), 44);
        assert_eq!(VOLATILE.len(), 31);
    }
}
