//! The query parameters of a URL: an invalid value is an error; unknown names are ignored.

use std::ops::RangeInclusive;

use percent_encoding::percent_decode_str;

use super::error::Error;
use crate::person::Time;

/// The parameters of a request, in the order given.
#[derive(Clone, Debug, Default)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Parses a query.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let pairs = pairs(query).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| Error::invalid(name, "not valid UTF-8"))?;
            let value = decode(value).ok_or_else(|| Error::invalid(&name, "not valid UTF-8"))?;
            Ok((name, value))
        });
        pairs.collect::<Result<_, _>>().map(Self)
    }

    /// Yields all parameters, in the order given.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Returns the value of a parameter, the last one if it is given several times. An
    /// empty value counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut given = self.all().filter(|(found, value)| *found == name && !value.is_empty());
        given.next_back().map(|(_, value)| value)
    }

    /// Sets the value of a parameter.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.push((name.to_owned(), value.to_owned()));
    }

    /// Removes a parameter, however often it is given.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(found, _)| found != name);
    }

    /// Returns a parameter that is a whole number within `bounds`.
    pub fn whole(&self, name: &str, bounds: RangeInclusive<u64>) -> Result<Option<u64>, Error> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = digits.then(|| text.parse().ok()).flatten();
        match number.filter(|number| bounds.contains(number)) {
            Some(number) => Ok(Some(number)),
            None if *bounds.end() == u64::MAX => {
                let detail = format!("{name} must be a whole number from {}", bounds.start());
                Err(Error::invalid(name, detail))
            }
            None => {
                let (least, most) = bounds.into_inner();
                let detail = format!("{name} must be a whole number from {least} to {most}");
                Err(Error::invalid(name, detail))
            }
        }
    }

    /// Returns the `limit`, from 1 to `most`; `usual` if it is not given.
    pub fn limit(&self, usual: u64, most: u64) -> Result<usize, Error> {
        let limit = self.whole("limit", 1..=most)?.unwrap_or(usual);
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// Returns a parameter that is `true` or `false`; an absent one is `false`.
    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        let Some(text) = self.get(name) else {
            return Ok(false);
        };
        if text.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if text.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(Error::invalid(name, format!("{name} must be true or false")))
        }
    }

    /// Returns a parameter that is a time.
    pub fn time(&self, name: &str) -> Result<Option<Time>, Error> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let detail = || format!("Invalid {name} format. Use ISO format like 2023-06-15T14:30:00Z");
        let time = Time::parse_from_url(text).ok_or_else(|| Error::invalid(name, detail()))?;
        Ok(Some(time))
    }

    /// Returns a parameter for which an empty value has a meaning.
    pub fn given(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Yields the pairs of a query as they are written, except those with a name in `without`.
pub fn others<'q>(query: &'q str, without: &[&str]) -> impl Iterator<Item = &'q str> {
    pairs(query).filter(move |pair| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        !decode(name).is_some_and(|name| without.contains(&name.as_str()))
    })
}

fn pairs(query: &str) -> impl Iterator<Item = &str> {
    query.split('&').filter(|pair| !pair.is_empty())
}

fn decode(text: &str) -> Option<String> {
    if !text.contains(['+', '%']) {
        return Some(text.to_owned());
    }
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8();
    decoded.ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_one_counts_and_an_empty_one_is_absent() {
        let parameters = Parameters::parse("a=1&b=&a=x%20y+z%2B&c&&d=%C3%BC=1").unwrap();
        assert_eq!(parameters.get("a"), Some("x y z+"));
        assert_eq!(parameters.get("b"), None);
        assert_eq!(parameters.get("c"), None);
        assert_eq!(parameters.get("d"), Some("ü=1"));
        assert!(Parameters::parse("a=%FF").is_err());
        assert!(Parameters::parse("%FF=1").is_err());
    }

    #[test]
    fn numbers_and_flags_are_understood_or_refused() {
        let parameters = Parameters::parse("a=7&b=-1&c=%2B1&d=True&e=1&f=11").unwrap();
        assert_eq!(parameters.whole("a", 1..=10).unwrap(), Some(7));
        assert_eq!(parameters.whole("x", 1..=10).unwrap(), None);
        for name in ["b", "c", "d", "f"] {
            assert!(parameters.whole(name, 1..=10).is_err(), "{name}");
        }
        assert!(parameters.flag("d").unwrap());
        assert!(!parameters.flag("x").unwrap());
        assert!(parameters.flag("e").is_err());
    }

    #[test]
    fn the_others_are_kept_as_they_were_written() {
        let query = "a=%20b&limit=1&%6Fffset=2&&c";
        let kept: Vec<_> = others(query, &["limit", "offset"]).collect();
        assert_eq!(kept, ["a=%20b", "c"]);
    }
}
