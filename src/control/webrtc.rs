//! WebRTC's offers over HTTP: WHEP (draft-ietf-wish-whep) for who watches, WHIP (RFC 9725) for whose camera is painted.

use std::net::IpAddr;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State as Of};
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::answer::{ErrorBody, Refusal, body_of};
use super::routes::App;
use crate::media::webrtc::{Accepted, PeerRole, Refused, WebRtc};

/// Longest offer, in bytes.
const LONGEST_OFFER: usize = 64 * 1024;
const SDP: &str = "application/sdp";

/// The address of this machine that a request came to: WebRTC's packets are expected there, and nowhere else.
#[derive(Clone, Copy)]
pub(super) struct CameTo(pub IpAddr);

/// Picture and sound by WebRTC (WHEP), H.264 and Opus: takes an offer, and answers it. The answer names the connection
/// (`Location`), which `DELETE` ends.
#[utoipa::path(post, path = "/whep", tag = "webrtc", request_body(content = String, content_type = "application/sdp"),
    responses((status = 201, body = String, content_type = "application/sdp", headers(("Location" = String, description = "The connection"))),
        (status = 400, body = ErrorBody), (status = 406, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn watch(
    Of(shared): Of<App>,
    Extension(at): Extension<CameTo>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    accept(&shared, PeerRole::Viewer, at, &headers, body).await
}

/// Ends a connection of a viewer.
#[utoipa::path(delete, path = "/whep/{id}", tag = "webrtc", params(("id" = String, Path, description = "The connection")),
    responses((status = 200), (status = 404, body = ErrorBody)))]
pub(super) async fn watch_no_more(
    Of(shared): Of<App>,
    Path(id): Path<String>,
) -> Result<(), Refusal> {
    close(&shared, PeerRole::Viewer, id).await
}

/// A camera by WebRTC (WHIP), H.264 or VP8, with Opus: takes an offer, and answers it. For a run with `--input whip:`.
#[utoipa::path(post, path = "/whip", tag = "webrtc", request_body(content = String, content_type = "application/sdp"),
    responses((status = 201, body = String, content_type = "application/sdp", headers(("Location" = String, description = "The connection"))),
        (status = 400, body = ErrorBody), (status = 406, body = ErrorBody), (status = 409, body = ErrorBody), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody), (status = 503, body = ErrorBody)))]
pub(super) async fn publish(
    Of(shared): Of<App>,
    Extension(at): Extension<CameTo>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    accept(&shared, PeerRole::Publisher, at, &headers, body).await
}

/// Ends the connection of a publisher.
#[utoipa::path(delete, path = "/whip/{id}", tag = "webrtc", params(("id" = String, Path, description = "The connection")),
    responses((status = 200), (status = 404, body = ErrorBody)))]
pub(super) async fn publish_no_more(
    Of(shared): Of<App>,
    Path(id): Path<String>,
) -> Result<(), Refusal> {
    close(&shared, PeerRole::Publisher, id).await
}

fn webrtc(shared: &App) -> Result<&WebRtc, Refusal> {
    let none = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "this run has no WebRTC");
    shared.controls.webrtc.as_ref().ok_or_else(none)
}

async fn accept(
    shared: &App,
    role: PeerRole,
    CameTo(at): CameTo,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let bytes = body_of(headers, body, SDP, LONGEST_OFFER).await?;
    let offer = String::from_utf8(bytes.into())
        .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "the offer is no text"))?;
    let accepted = webrtc(shared)?.accept(role, offer, at).await;
    let Accepted { id, answer } = match accepted {
        Ok(accepted) => accepted,
        Err(refused) => return Ok(refusal(&refused)),
    };
    let path = match role {
        PeerRole::Viewer => "/whep",
        PeerRole::Publisher => "/whip",
    };
    let location = format!("{path}/{id}");
    let headers = [(CONTENT_TYPE, SDP), (LOCATION, location.as_str())];
    Ok((StatusCode::CREATED, headers, answer).into_response())
}

fn refusal(refused: &Refused) -> Response {
    let status = match refused {
        Refused::Offer(_) => StatusCode::BAD_REQUEST,
        Refused::Format(_) => StatusCode::NOT_ACCEPTABLE,
        Refused::Publisher(_) => StatusCode::CONFLICT,
        Refused::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut answer = Refusal::new(status, refused.to_string()).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    answer
}

async fn close(shared: &App, role: PeerRole, id: String) -> Result<(), Refusal> {
    match webrtc(shared)?.close(role, id).await {
        true => Ok(()),
        false => {
            Err(Refusal::new(StatusCode::NOT_FOUND, "there is no such connection, or no more"))
        }
    }
}
