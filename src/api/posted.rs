//! Requests with a body: the key is checked, wherever it is given, and the fields are parsed.

use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use hyper::body::Body as _;

use super::error::Error;
use super::fields::Fields;
use super::format::Format;
use super::key::Scope;
use super::parameters::Parameters;
use super::{State, access, position, read};
use crate::person::ProjectId;
use crate::progress::Positions;

/// An authorized request with a body.
pub struct Posted {
    /// The project that the path names.
    pub project: ProjectId,
    /// The body and the query.
    pub fields: Fields,
    /// The format of the answer, as the URL or the headers say.
    pub format: Format,
    /// The label of the key.
    pub author: String,
    /// When it arrived.
    pub begun: Instant,
    /// The positions that must be applied before it is answered.
    pub wanted: Positions,
    /// The headers.
    pub headers: HeaderMap,
}

impl Posted {
    /// Reads a request to a route that requires a scope.
    pub async fn of(request: Request, state: &State, scope: Scope) -> Result<Self, Error> {
        let begun = Instant::now();
        let (mut parts, body) = request.into_parts();
        let parameters = Parameters::parse(parts.uri.query().unwrap_or_default())?;
        let project = read::project_of(&mut parts, state).await?;
        let (method, headers) = (parts.method.clone(), parts.headers.clone());
        // A body whose declared length is too large is rejected before it is received.
        if body.size_hint().lower() > state.settings.body_limit {
            return Err(Error::of_status(StatusCode::PAYLOAD_TOO_LARGE, &method));
        }
        let body = Bytes::from_request(Request::from_parts(parts, body), state);
        let left = state.settings.deadline(begun).saturating_duration_since(Instant::now());
        // If the body never ends, the caller learns that nothing was done.
        let body = tokio::time::timeout(left, body).await.map_err(|_| {
            Error::unreadable("it did not come to its end in time, and nothing was done")
        })?;
        let body =
            body.map_err(|error| Error::of_status(error.into_response().status(), &method))?;
        let fields = Fields::of(&headers, &body, &parameters);
        // Only the first key counts. An error in the body is reported after authorization only, so that a
        // caller without access does not see it.
        let bearer = access::bearer(&headers);
        let named = match &fields {
            _ if bearer.is_some() => None,
            Ok(fields) => fields.text(access::KEY_PARAMETER)?,
            Err(_) => parameters.get(access::KEY_PARAMETER).map(str::to_owned),
        };
        let secret = bearer.or(named.as_deref());
        let access = state.access();
        let (project, key) = access.admit(secret, &project, scope)?;
        let fields = fields?;
        let format = Format::of(&parameters, &headers)?;
        let wanted = fields.text(position::PARAMETER)?;
        let wanted = wanted.map(|text| position::parse(&text)).transpose()?.unwrap_or_default();
        Ok(Self { project, fields, format, author: key.label.clone(), begun, wanted, headers })
    }
}
