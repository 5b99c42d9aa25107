//! What can be asked, and its description (OpenAPI), which is made from the same list.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State as Of};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio_stream::wrappers::WatchStream;
use tokio_stream::{Stream, StreamExt};
use utoipa::openapi::OpenApi;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::guard;
use super::answer::{ErrorBody, Refusal, body_of, json_of};
use super::preview::jpeg;
use super::settings::{Settings, SettingsChange};
use super::shared::Shared;
use super::state::State;
use super::{metrics, page, pictures, webrtc};
use crate::core::frame::{Frame, Planes};
use crate::media::preview::PreviewPicture;
use crate::stream::LiveRequest;

/// How long a request waits for a new picture.
const NEW_PICTURE: Duration = Duration::from_secs(5);
/// How long a request waits for what the run is asked for: a frame of a slow network, and a large picture that is saved.
const CARRIED_OUT: Duration = Duration::from_secs(30);
/// Silence after which a comment keeps an event stream alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) type App = Arc<Shared>;

/// All routes and their description.
pub(super) fn router(shared: App) -> (Router, OpenApi) {
    let (api, mut description) = described().split_for_parts();
    description.info.title = "nst-stream".to_owned();
    description.info.description = Some(
        "A live run: its state, its settings, its picture. Words are those of the command line."
            .to_owned(),
    );
    let document = Json(description.clone());
    let mut router = api.route("/api/v1/openapi.json", get(move || std::future::ready(document)));
    for path in page::paths() {
        router = router.route(path, get(file));
    }
    let router = router
        .fallback(nothing_there)
        .method_not_allowed_fallback(other_method)
        .layer(from_fn_with_state(Arc::clone(&shared), guard))
        .layer(from_fn_with_state(Arc::clone(&shared), count))
        .with_state(shared);
    (router, description)
}

fn described() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(sign_in))
        .routes(routes!(state))
        .routes(routes!(settings, change_settings))
        .routes(routes!(models))
        .routes(routes!(thumbnail))
        .routes(routes!(add_picture))
        .routes(routes!(region_shape))
        .routes(routes!(picture))
        .routes(routes!(events))
        .routes(routes!(snapshot))
        .routes(routes!(start_recording, stop_recording))
        .routes(routes!(webrtc::watch))
        .routes(routes!(webrtc::watch_no_more))
        .routes(routes!(webrtc::publish))
        .routes(routes!(webrtc::publish_no_more))
        .routes(routes!(prometheus))
        .routes(routes!(alive))
        .routes(routes!(ready))
}

async fn count(Of(shared): Of<App>, request: Request, next: Next) -> Response {
    shared.count_request();
    next.run(request).await
}

async fn file(uri: Uri) -> Response {
    page::part(uri.path()).unwrap_or_else(|| StatusCode::NOT_FOUND.into_response())
}

async fn nothing_there() -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "there is nothing here; /api/v1/openapi.json lists what can be asked",
    )
}

async fn other_method() -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this is asked in another way; /api/v1/openapi.json says how",
    )
}

/// The token of the link that was printed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignIn {
    token: String,
}

/// Whether the token is right; the answer sets a cookie.
#[utoipa::path(post, path = "/api/v1/session", request_body = SignIn, tag = "session",
    responses((status = 204, description = "The cookie is set"), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 415, body = ErrorBody), (status = 422, body = ErrorBody)))]
async fn sign_in(Of(shared): Of<App>, headers: HeaderMap, body: Body) -> Result<Response, Refusal> {
    let given: SignIn = json_of(&headers, body).await?;
    if !shared.access.is_token(&given.token) {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this is not the token; it is in the link that nst-stream has printed",
        ));
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = shared.access.cookie() {
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(answer)
}

/// All there is to know of the run.
#[utoipa::path(get, path = "/api/v1/state", tag = "run", responses((status = 200, body = State)))]
async fn state(Of(shared): Of<App>) -> Json<State> {
    Json(shared.state())
}

/// The settings.
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings", responses((status = 200, body = Settings)))]
async fn settings(Of(shared): Of<App>) -> Json<Settings> {
    Json(Settings::of(&shared.controls))
}

/// Changes settings from the next frame on; what is left out stays.
#[utoipa::path(patch, path = "/api/v1/settings", request_body = SettingsChange, tag = "settings",
    responses((status = 200, body = Settings), (status = 400, body = ErrorBody), (status = 415, body = ErrorBody), (status = 422, body = ErrorBody)))]
async fn change_settings(
    Of(shared): Of<App>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Settings>, Refusal> {
    let change: SettingsChange = json_of(&headers, body).await?;
    change.apply(&shared.controls).map_err(Refusal::bad)?;
    Ok(Json(Settings::of(&shared.controls)))
}

/// A model that can be chosen.
#[derive(Serialize, ToSchema)]
struct Model {
    /// What `model` in the settings names it by.
    name: String,
    /// Where a small picture of what it paints is; none before it is painted.
    thumbnail: Option<String>,
}

/// The models of this run, in the order of the command line.
#[utoipa::path(get, path = "/api/v1/models", tag = "settings", responses((status = 200, body = [Model])))]
async fn models(Of(shared): Of<App>) -> Json<Vec<Model>> {
    let names = shared.controls.monitor.models();
    let model = |(n, name)| {
        let painted = shared.controls.monitor.sample(n).is_some();
        Model { name, thumbnail: painted.then(|| format!("/api/v1/models/{n}/thumbnail")) }
    };
    Json(names.into_iter().enumerate().map(model).collect())
}

/// What a picture is called.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Named {
    /// Name of its file; the style gets its name without the end.
    #[serde(default)]
    name: String,
}

/// Adds a model that paints in the style of this picture (`--style`), and can be chosen then. After sixteen, the oldest
/// that is not painted makes room.
#[utoipa::path(post, path = "/api/v1/pictures", tag = "settings", params(Named),
    request_body(content = [u8], content_type = "image/*", description = "A picture file of up to 32 MiB and 64 megapixels: JPEG, PNG, WebP, GIF, TIFF, BMP"),
    responses((status = 201, body = Model), (status = 413, body = ErrorBody), (status = 415, body = ErrorBody), (status = 422, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn add_picture(
    Of(shared): Of<App>,
    named: Result<Query<Named>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Model>), Refusal> {
    let Query(named) = named.map_err(|rejection| Refusal::bad(rejection.body_text()))?;
    let data = body_of(&headers, body, "image/*", pictures::LONGEST).await?;
    let run = Arc::clone(&shared);
    // On a thread that may wait: the runtime's serves all others.
    let added =
        tokio::task::spawn_blocking(move || run.pictures.add(&data, &named.name, &run.controls));
    let (number, name) = added.await.map_err(|_| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "the picture could not be measured")
    })??;
    shared.changed();
    let painted = shared.controls.monitor.sample(number).is_some();
    let thumbnail = painted.then(|| format!("/api/v1/models/{number}/thumbnail"));
    Ok((StatusCode::CREATED, Json(Model { name, thumbnail })))
}

/// A photo as a model paints it.
#[utoipa::path(get, path = "/api/v1/models/{number}/thumbnail", tag = "settings",
    params(("number" = usize, Path, description = "Number of the model, from 0")),
    responses((status = 200, body = [u8], content_type = "image/jpeg"), (status = 404, body = ErrorBody)))]
async fn thumbnail(Of(shared): Of<App>, Path(number): Path<String>) -> Result<Response, Refusal> {
    let frame = number.parse().ok().and_then(|number| shared.controls.monitor.sample(number));
    frame.as_ref().and_then(jpeg_of).ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "there is no such thumbnail; /api/v1/models lists them")
    })
}

/// Where a region of the mask is: white on black.
#[utoipa::path(get, path = "/api/v1/regions/{number}/shape", tag = "settings",
    params(("number" = usize, Path, description = "Number of the region in the settings, from 0")),
    responses((status = 200, body = [u8], content_type = "image/jpeg"), (status = 404, body = ErrorBody)))]
async fn region_shape(
    Of(shared): Of<App>,
    Path(number): Path<String>,
) -> Result<Response, Refusal> {
    let frame = number.parse().ok().and_then(|number| shared.controls.monitor.region_shape(number));
    frame.as_ref().and_then(jpeg_of).ok_or_else(|| {
        Refusal::new(StatusCode::NOT_FOUND, "there is no such region; /api/v1/settings lists them")
    })
}

fn jpeg_of(frame: &Frame) -> Option<Response> {
    let Planes::Rgb(rgb) = &frame.planes else { return None };
    let (width, height) = (frame.info.width, frame.info.height);
    let bytes = jpeg(&PreviewPicture { width, height, rgb: rgb.to_vec() })?;
    Some(([(CONTENT_TYPE, "image/jpeg")], bytes).into_response())
}

/// Which picture.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Wait for a picture newer than the one with this number (`X-Picture`).
    #[serde(default)]
    after: u64,
    /// The source on the left, and what was painted of it on the right.
    #[serde(default)]
    pair: bool,
}

/// The newest picture, small. Ask for the next one with the number of the last: nothing is sent that is not looked at.
#[utoipa::path(get, path = "/api/v1/picture", tag = "run", params(Wanted),
    responses((status = 200, body = [u8], content_type = "image/jpeg", headers(("X-Picture" = u64, description = "Number of the picture"))),
        (status = 204, description = "No new picture has come for five seconds"), (status = 422, body = ErrorBody)))]
async fn picture(
    Of(shared): Of<App>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(wanted) = wanted.map_err(|rejection| Refusal::bad(rejection.body_text()))?;
    let asked = Instant::now();
    let mut pictures = shared.previews.look(wanted.pair);
    let new = tokio::time::timeout(
        NEW_PICTURE,
        pictures.wait_for(|shown| {
            shown.number > wanted.after
                && (shown.pair.is_some() || !wanted.pair)
                && shown.is_of_now(asked)
        }),
    );
    let Ok(Ok(shown)) = new.await else { return Ok(StatusCode::NO_CONTENT.into_response()) };
    let bytes = match (&shown.pair, wanted.pair) {
        (Some(pair), true) => Bytes::from_owner(Arc::clone(pair)),
        _ => Bytes::from_owner(Arc::clone(&shown.painted)),
    };
    let number = shown.number.to_string();
    drop(shown);
    let headers =
        [(CONTENT_TYPE, "image/jpeg"), (HeaderName::from_static("x-picture"), number.as_str())];
    Ok((headers, bytes).into_response())
}

/// The state at each change, as server-sent events of the type `state`.
#[utoipa::path(get, path = "/api/v1/events", tag = "run",
    responses((status = 200, body = State, content_type = "text/event-stream")))]
async fn events(Of(shared): Of<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = WatchStream::new(shared.watch());
    let event = move |_| {
        let event = Event::default().event("state");
        Ok(event.json_data(shared.state()).unwrap_or_default())
    };
    Sse::new(changes.map(event)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

/// What the run does when it is asked to.
async fn carried_out<T>(answer: oneshot::Receiver<Result<T, String>>) -> Result<T, Refusal> {
    match tokio::time::timeout(CARRIED_OUT, answer).await {
        Ok(Ok(Ok(made))) => Ok(made),
        Ok(Ok(Err(why))) => Err(Refusal::new(StatusCode::CONFLICT, why)),
        _ => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no frame came in time; try again")),
    }
}

/// Saves the next frame as a picture in the working folder, as the key `s` does, and returns it.
#[utoipa::path(post, path = "/api/v1/snapshot", tag = "run",
    responses((status = 200, body = [u8], content_type = "image/png"), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn snapshot(Of(shared): Of<App>) -> Result<Response, Refusal> {
    let (send, answer) = oneshot::channel();
    shared.controls.snapshot.ask_for(move |saved| drop(send.send(saved)));
    let path = carried_out(answer).await?;
    shared.snapshots.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // On a thread that may wait: the runtime's serves all others.
    let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    let Ok(Ok(bytes)) = read else {
        let text = format!("'{name}' was saved and cannot be read");
        return Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, text));
    };
    let as_file = format!("attachment; filename=\"{name}\"");
    Ok(([(CONTENT_TYPE, "image/png"), (CONTENT_DISPOSITION, as_file.as_str())], bytes)
        .into_response())
}

/// A recording, by its file in the working folder.
#[derive(Serialize, ToSchema)]
struct Recorded {
    name: String,
}

/// Records to a new file in the working folder, beside all other outputs.
#[utoipa::path(post, path = "/api/v1/recording", tag = "run",
    responses((status = 201, body = Recorded), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn start_recording(Of(shared): Of<App>) -> Result<(StatusCode, Json<Recorded>), Refusal> {
    let (send, answer) = oneshot::channel();
    let request = LiveRequest::StartRecording(Box::new(move |begun| drop(send.send(begun))));
    let name = asked(&shared, request, answer).await?;
    Ok((StatusCode::CREATED, Json(Recorded { name })))
}

/// Finishes that recording; the file gets its name a moment later.
#[utoipa::path(delete, path = "/api/v1/recording", tag = "run",
    responses((status = 200, body = Recorded), (status = 409, body = ErrorBody), (status = 503, body = ErrorBody)))]
async fn stop_recording(Of(shared): Of<App>) -> Result<Json<Recorded>, Refusal> {
    let (send, answer) = oneshot::channel();
    let request = LiveRequest::StopRecording(Box::new(move |ended| drop(send.send(ended))));
    let name = asked(&shared, request, answer).await?;
    Ok(Json(Recorded { name }))
}

async fn asked(
    shared: &App,
    request: LiveRequest,
    answer: oneshot::Receiver<Result<String, String>>,
) -> Result<String, Refusal> {
    if !shared.controls.monitor.ask(request) {
        return Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too much is asked at once; try again",
        ));
    }
    carried_out(answer).await
}

/// Metrics for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "monitoring",
    responses((status = 200, body = String, content_type = "text/plain")))]
async fn prometheus(Of(shared): Of<App>) -> Result<Response, Refusal> {
    let text = metrics::text(&shared)
        .map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(CONTENT_TYPE, ::prometheus::TEXT_FORMAT)], text).into_response())
}

/// Whether the program answers.
#[utoipa::path(get, path = "/healthz", tag = "monitoring", responses((status = 200, body = String, content_type = "text/plain")))]
async fn alive() -> &'static str {
    "ok\n"
}

/// Whether frames flow.
#[utoipa::path(get, path = "/readyz", tag = "monitoring",
    responses((status = 200, body = String, content_type = "text/plain"), (status = 503, body = ErrorBody)))]
async fn ready(Of(shared): Of<App>) -> Result<&'static str, Refusal> {
    match shared.unready() {
        None => Ok("ready\n"),
        // Whoever has no token learns no more than that.
        Some(_) if shared.access.is_guarded() => {
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not ready"))
        }
        Some(why) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)),
    }
}
