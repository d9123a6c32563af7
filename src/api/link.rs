//! Links to the pages before and after a page.

use std::fmt::Display;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, Uri, header::HOST};

use super::error::Error;
use super::parameters::others;

/// The URL of a list, from which the links to its other pages are made.
pub struct Link {
    /// Scheme, host and path.
    address: String,
    /// All parameters except `limit`, `offset` and `cursor`, as the caller wrote them.
    kept: String,
    limit: usize,
}

impl Link {
    /// Creates it from a request. The host is the one that the caller used, or the one
    /// that a trusted proxy reports.
    pub fn of(uri: &Uri, headers: &HeaderMap, trusted: bool, limit: usize) -> Result<Self, Error> {
        let forwarded = |name: &str| {
            let value = headers.get(name).filter(|_| trusted)?;
            value.to_str().unwrap_or("").split(',').next().map(str::trim)
        };
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or(""));
        let host = forwarded("x-forwarded-host").or(host);
        let host = host.or(uri.authority().map(Authority::as_str));
        let host = host.unwrap_or("localhost").parse::<Authority>().ok();
        // User information before an `@` would make the link look as if it led to another host.
        let host = host.filter(|host| !host.as_str().contains('@'));
        let host = host.ok_or_else(|| Error::invalid("host", "The Host header names no host."))?;
        let secure =
            forwarded("x-forwarded-proto").is_some_and(|p| p.eq_ignore_ascii_case("https"));
        let scheme = if secure { "https" } else { "http" };
        let query = uri.query().unwrap_or_default();
        Ok(Self {
            address: format!("{scheme}://{host}{}", uri.path()),
            kept: others(query, &["limit", "offset", "cursor"]).collect::<Vec<_>>().join("&"),
            limit,
        })
    }

    /// Returns the link with a value of the paging parameter `name`.
    fn page_by(&self, name: &str, value: impl Display) -> String {
        let mine = [name];
        let mut query: Vec<_> = others(&self.kept, &mine).map(str::to_owned).collect();
        query.extend([format!("limit={}", self.limit), format!("{name}={value}")]);
        format!("{}?{}", self.address, query.join("&"))
    }

    /// Returns the link to the page after a cursor.
    pub fn cursor(&self, cursor: &str) -> String {
        self.page_by("cursor", cursor)
    }

    /// Returns the link to the page with a number.
    pub fn page(&self, number: u64) -> String {
        self.page_by("page", number)
    }

    /// Returns the link to the page after the one at `offset` with `rows` rows; `None`
    /// if that offset overflows.
    pub fn next(&self, offset: u64, rows: usize) -> Option<String> {
        offset.checked_add(rows as u64).map(|next| self.page_by("offset", next))
    }

    /// Returns the link to the page before the one at `offset`, which may overlap with it;
    /// `None` on the first page.
    pub fn previous(&self, offset: u64) -> Option<String> {
        (offset > 0).then(|| self.page_by("offset", offset.saturating_sub(self.limit as u64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(headers: &[(&'static str, &str)], trusted: bool) -> Result<Link, Error> {
        let headers = headers.iter().map(|(name, value)| {
            let name = axum::http::HeaderName::from_static(name);
            (name, value.parse().unwrap())
        });
        let uri = "/p/?a=%20&offset=3&limit=2".parse().unwrap();
        Link::of(&uri, &headers.collect(), trusted, 2)
    }

    #[test]
    fn a_proxy_is_believed_only_where_it_is_trusted() {
        let headers = [
            ("host", "inner:8000"),
            ("x-forwarded-host", "people.example, x"),
            ("x-forwarded-proto", "https"),
        ];
        let next = |trusted| link(&headers, trusted).unwrap().next(3, 2).unwrap();
        assert_eq!(next(false), "http://inner:8000/p/?a=%20&limit=2&offset=5");
        assert_eq!(next(true), "https://people.example/p/?a=%20&limit=2&offset=5");
        for host in ["a b", "people.example@x"] {
            assert!(link(&[("host", host)], false).is_err(), "{host}");
            assert!(link(&[("host", "x"), ("x-forwarded-host", host)], true).is_err(), "{host}");
        }
    }

    #[test]
    fn the_first_page_is_reached_and_none_is_beyond_numbers() {
        let link = link(&[], false).unwrap();
        assert_eq!(link.next(u64::MAX, 2), None);
        assert_eq!(link.previous(0), None);
        let first = "http://localhost/p/?a=%20&limit=2&offset=0";
        assert_eq!(link.previous(1).as_deref(), Some(first));
    }
}
