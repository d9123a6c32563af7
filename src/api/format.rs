//! Content negotiation: the format that a request asks for, and answers in that format.
//!
//! Every route makes its answer as JSON. If CSV is requested, [`Format::body`] converts it, so that no route
//! describes its answer twice. Errors are always JSON.

use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::error::Error;
use super::parameters::Parameters;
use super::{json, table};

/// The parameter that names the format.
pub const PARAMETER: &str = "format";

const CSV: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");

/// The format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    csv: bool,
    /// Whether the `Accept` header decided, so that another one may get another answer at the same URL.
    varies: bool,
}

impl Format {
    /// JSON, whatever the request asks for.
    pub const JSON: Self = Self { csv: false, varies: false };

    /// Returns the format of the `format` parameter, or without it that of the `Accept` header.
    pub fn of(parameters: &Parameters, headers: &HeaderMap) -> Result<Self, Error> {
        match parameters.get(PARAMETER) {
            Some("json") => Ok(Self::JSON),
            Some("csv") => Ok(Self { csv: true, varies: false }),
            Some(_) => Err(Error::invalid(PARAMETER, "format must be json or csv")),
            None => Ok(Self { csv: prefers_csv(headers), varies: true }),
        }
    }

    /// Whether it is CSV.
    pub fn is_csv(self) -> bool {
        self.csv
    }

    /// Converts an answer from JSON to a body of this format. CSV of several rows has at most `most` bytes.
    pub fn body(self, json: Vec<u8>, most: usize) -> Result<Vec<u8>, Error> {
        if self.csv { table::of_answer(&json, most) } else { Ok(json) }
    }

    /// Returns a response with a [`body`](Self::body) of this format.
    pub fn respond(self, status: StatusCode, body: impl Into<Body>) -> Response {
        let mut response = Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, if self.csv { CSV } else { json::CONTENT });
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        if self.varies {
            headers.insert(VARY, HeaderValue::from_static("Accept"));
        }
        response
    }

    /// Converts an answer from JSON and returns the response, without a limit of its size: for answers
    /// that never have many rows.
    pub fn answer(self, status: StatusCode, json: Vec<u8>) -> Result<Response, Error> {
        Ok(self.respond(status, self.body(json, usize::MAX)?))
    }
}

/// Whether the `Accept` header gives CSV a higher weight than JSON, or the same weight and a more specific
/// range. Invalid ranges are ignored.
fn prefers_csv(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges: Vec<_> = values.flat_map(|value| value.split(',')).filter_map(range).collect();
    let judged = |kinds: [&str; 3]| {
        // The most specific range decides, whatever its weight.
        let closest = kinds.iter().enumerate().find_map(|(distance, kind)| {
            let found = ranges.iter().filter(|(range, _)| range == kind);
            let weight = found.map(|(_, weight)| *weight).max()?;
            Some((weight, 3 - distance))
        });
        closest.unwrap_or((0, 0))
    };
    let csv = judged(["text/csv", "text/*", "*/*"]);
    csv.0 > 0 && csv > judged(["application/json", "application/*", "*/*"])
}

/// A media range in lowercase, and its weight in thousandths.
fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| range.contains('/'))?.to_ascii_lowercase();
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let weight = weight.map_or(Some(1_000), thousandths)?;
    Some((range, weight))
}

/// Parses a weight, `0` or `1` with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !digits(decimals) {
        return None;
    }
    let thousandths = format!("{whole}{decimals:0<3}").parse().ok();
    thousandths.filter(|thousandths| *thousandths <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(accept: &[&str]) -> HeaderMap {
        accept.iter().map(|value| (ACCEPT, value.parse().unwrap())).collect()
    }

    #[test]
    fn csv_is_for_who_prefers_it() {
        for (accept, csv) in [
            (&["text/csv"][..], true),
            (&["TEXT/CSV; charset=utf-8; header=present"], true),
            (&["text/csv, */*"], true),
            (&["text/csv;q=0.9, application/json;q=0.8"], true),
            (&["text/csv; q=0.9", "application/json;q=0.8"], true),
            (&["text/*"], true),
            (&["*/*;q=0.5, text/csv;q=0.501"], true),
            (&["application/json;q=0, text/csv;q=0.001"], true),
            (&[], false),
            (&[""], false),
            (&["*/*"], false),
            (&["application/json"], false),
            (&["text/csv, application/json"], false),
            (&["text/csv;q=0.8, */*"], false),
            (&["text/csv;q=0"], false),
            (&["text/csv;q=0, text/*"], false),
            (&["text/csv;q=x"], false),
            (&["text/csv;q=1.001"], false),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], false),
        ] {
            assert_eq!(prefers_csv(&headers(accept)), csv, "{accept:?}");
        }
    }

    #[test]
    fn the_parameter_wins_over_the_header() {
        let of = |query: &str, accept: &[&str]| {
            Format::of(&Parameters::parse(query).unwrap(), &headers(accept))
        };
        assert!(!of("format=json", &["text/csv"]).unwrap().csv);
        assert!(of("format=csv", &["application/json"]).unwrap().csv);
        assert!(of("format=", &["text/csv"]).unwrap().csv);
        for other in ["CSV", "xml", "json,csv"] {
            let error = of(&format!("format={other}"), &[]).unwrap_err();
            assert_eq!(error.detail(), "format must be json or csv");
        }
    }
}
