//! Answers: refusals as JSON that says what to do, and the headers that every answer has.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

/// Longest body of a request, in bytes.
const LONGEST_BODY: usize = 16 * 1024;
/// A longer one is large.
const LARGE_BODY: usize = 1024 * 1024;
/// Time for the body of a request to come.
const BODY_COMES: Duration = Duration::from_secs(5);
/// The same for one that is large.
const LARGE_BODY_COMES: Duration = Duration::from_secs(60);

/// What is loaded, and by whom: this server's own files alone, no code within pages, no frame around them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 7] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The body of a refusal.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody {
    /// What is wrong, and what to do.
    error: String,
}

/// A request that is not carried out.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    /// `text` says what is wrong and what to do.
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Refusal(status, text.into())
    }

    /// A value that cannot be taken.
    pub fn bad(text: impl Into<String>) -> Self {
        Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    #[cfg(test)]
    pub fn status(&self) -> StatusCode {
        self.0
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { error: self.1 })).into_response()
    }
}

/// The answer, with the headers that bind browsers.
pub(super) fn secured(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    answer
}

/// The body of a request, which must be of this kind; `image/*` is any picture.
///
/// # Errors
/// When it is of another kind, too long or too slow.
pub(super) async fn body_of(
    headers: &HeaderMap,
    body: Body,
    wanted: &str,
    longest: usize,
) -> Result<Bytes, Refusal> {
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_wanted = match wanted.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == wanted,
    };
    // Other kinds can be sent by forms of foreign pages.
    if !is_wanted {
        let text = format!("send it with 'Content-Type: {wanted}'");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let comes = if longest > LARGE_BODY { LARGE_BODY_COMES } else { BODY_COMES };
    match tokio::time::timeout(comes, axum::body::to_bytes(body, longest)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            let text = format!("the body must come whole and have {longest} bytes at most");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, text))
        }
        Err(_) => Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly")),
    }
}

/// The JSON in a request.
///
/// # Errors
/// When it is none, too long, too slow, or not what is expected.
pub(super) async fn json_of<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, Refusal> {
    let bytes = body_of(headers, body, "application/json", LONGEST_BODY).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let status = if error.is_data() {
            StatusCode::UNPROCESSABLE_ENTITY
        } else {
            StatusCode::BAD_REQUEST
        };
        Refusal::new(status, error.to_string())
    })
}
