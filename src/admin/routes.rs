//! Which request gets which answer.

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use super::{
    Desk, Door,
    access::{self, Kind},
    views::{
        self, certificates,
        connections::{self, Filter},
    },
};
use crate::{
    control::Trigger,
    metrics::{Format, Sources},
    relay::{Message, core::Reason},
};

type Answer = Response<Full<Bytes>>;

const PATHS: &str = "GET /health /ready /metrics /config /certificates /backends /workers \
                     /connections, POST /reload /drain, DELETE /connections/ID\n";

pub async fn answer(request: &Request<Incoming>, door: Door, desk: &Desk) -> Answer {
    let (method, path) = (request.method(), request.uri().path());
    let kind = match *method {
        Method::GET | Method::HEAD if path == "/health" => Kind::Alive,
        Method::GET | Method::HEAD => Kind::Look,
        Method::POST | Method::DELETE => Kind::Change,
        _ => return text(StatusCode::METHOD_NOT_ALLOWED, PATHS.into()),
    };
    let snapshot = desk.sources.shared.snapshot.load_full();
    let admin = snapshot.config.admin.as_ref();
    let token_file = admin.and_then(|admin| admin.token_file.as_deref());
    match access::check(door, kind, request.headers(), token_file) {
        Err(denied) => {
            let body = json!({ "error": denied.message() });
            json_answer(StatusCode::UNAUTHORIZED, &body)
        }
        Ok(()) if kind == Kind::Change => change(method, path, desk).await,
        Ok(()) => get(request, desk).await,
    }
}

async fn get(request: &Request<Incoming>, desk: &Desk) -> Answer {
    let sources = &*desk.sources;
    let query = request.uri().query().unwrap_or_default();
    let ok = |body| json_answer(StatusCode::OK, &body);
    match request.uri().path() {
        "/health" => text(StatusCode::OK, "ok\n".into()),
        "/metrics" => metrics(query, request, sources),
        "/ready" => {
            let (ready, body) = views::ready(sources);
            let status = match ready {
                true => StatusCode::OK,
                false => StatusCode::SERVICE_UNAVAILABLE,
            };
            json_answer(status, &body)
        }
        "/config" => ok(views::config(&sources.shared.snapshot.load().config)),
        "/certificates" => ok(certificates::certificates(&sources.shared.snapshot.load())),
        "/backends" | "/workers" => ok(views::backends(&sources.shared.snapshot.load())),
        "/connections" => match Filter::parse(query) {
            Ok(filter) => {
                let body = connections::connections(sources, &filter).await;
                respond(StatusCode::OK, body + "\n", "application/json")
            }
            Err(problem) => json_answer(StatusCode::BAD_REQUEST, &json!({ "error": problem })),
        },
        _ => text(StatusCode::NOT_FOUND, PATHS.into()),
    }
}

fn metrics(query: &str, request: &Request<Incoming>, sources: &Sources) -> Answer {
    let accept = request.headers().get(ACCEPT);
    match Format::asked(query, accept.and_then(|accept| accept.to_str().ok())) {
        Ok(format) => respond(
            StatusCode::OK,
            format.encode(&sources.collect()),
            format.content_type(),
        ),
        Err(problem) => json_answer(StatusCode::BAD_REQUEST, &json!({ "error": problem })),
    }
}

async fn change(method: &Method, path: &str, desk: &Desk) -> Answer {
    let is_post = *method == Method::POST;
    match path {
        "/reload" if is_post => reload(desk).await,
        "/drain" if is_post => {
            desk.drain.notify_one();
            json_answer(StatusCode::ACCEPTED, &json!({ "draining": true }))
        }
        _ => match path.strip_prefix("/connections/").map(str::parse::<u64>) {
            Some(Ok(id)) if !is_post => end_connection(id, desk),
            _ => text(StatusCode::NOT_FOUND, PATHS.into()),
        },
    }
}

async fn reload(desk: &Desk) -> Answer {
    match desk.reloads.reload(Trigger::Admin).await {
        Some(Ok(applied)) => json_answer(
            StatusCode::OK,
            &json!({
                "result": "ok",
                "generation": applied.generation,
                "changes": applied.changes,
                "not_live": applied.not_live,
                "warnings": applied.warnings,
            }),
        ),
        Some(Err(rejected)) => {
            let body = json!({ "result": "rejected", "problems": rejected.problems });
            json_answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
        }
        None => {
            let body = json!({ "error": "lockgate is ending" });
            json_answer(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

fn end_connection(id: u64, desk: &Desk) -> Answer {
    let mut relays = desk.sources.shared.relays.iter();
    match relays.find(|relay| relay.has(id)) {
        Some(relay) => {
            relay.send(Message::End(id, Reason::Closed));
            json_answer(StatusCode::ACCEPTED, &json!({ "ending": id }))
        }
        None => {
            let body = json!({ "error": "no live connection has this number" });
            json_answer(StatusCode::NOT_FOUND, &body)
        }
    }
}

fn json_answer(status: StatusCode, body: &Value) -> Answer {
    respond(status, format!("{body}\n"), "application/json")
}

fn text(status: StatusCode, body: String) -> Answer {
    respond(status, body, "text/plain; charset=utf-8")
}

fn respond(status: StatusCode, body: String, kind: &'static str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
