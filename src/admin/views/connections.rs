//! Live connections, one after the other by number, which is by age.
//!
//! There may be many: they are looked at in pieces, so that neither the threads that own them nor
//! other admin clients wait for the whole, and an answer has a bounded number of them.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use crate::{connection::Info, limits, metrics::Sources};

/// Which connections are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    listener: Option<String>,
    identity: Option<String>,
    sni: Option<String>,
    backend: Option<String>,
    path: Option<String>,
    peer: Option<Peer>,
    /// Only those with a higher number.
    after: u64,
    limit: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Peer {
    Host(IpAddr),
    Socket(SocketAddr),
}

const KEYS: &str = "use listener, identity, sni, backend, path, peer, after and limit";

impl Filter {
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Filter {
            limit: limits::CONNECTIONS_LISTED,
            ..Filter::default()
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescape(value);
            let number = || {
                let wrong = |_| format!("{key}={value}: not a number");
                value.parse::<u64>().map_err(wrong)
            };
            match key {
                "listener" => filter.listener = Some(value),
                "identity" => filter.identity = Some(value),
                "sni" => filter.sni = Some(value.to_ascii_lowercase()),
                "backend" => filter.backend = Some(value),
                "path" if ["kernel", "user"].contains(&&*value) => filter.path = Some(value),
                "path" => return Err(format!("path={value}: kernel or user")),
                "peer" => filter.peer = Some(peer(&value)?),
                "after" => filter.after = number()?,
                "limit" => {
                    let limit = usize::try_from(number()?).unwrap_or(usize::MAX);
                    filter.limit = limit.min(limits::CONNECTIONS_LISTED_MAX);
                }
                _ => return Err(format!("{key}: {KEYS}")),
            }
        }
        Ok(filter)
    }

    fn takes(&self, info: &Info) -> bool {
        let same = |wanted: &Option<String>, value: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == value
        };
        same(&self.listener, Some(&info.listener))
            && same(&self.identity, info.identity())
            && same(&self.sni, info.session.sni.as_deref())
            && same(&self.backend, Some(&info.backend))
            && same(&self.path, Some(info.path().name()))
            && self.peer.as_ref().is_none_or(|wanted| match wanted {
                Peer::Host(host) => info.peer.is_some_and(|peer| peer.ip() == *host),
                Peer::Socket(socket) => info.peer == Some(*socket),
            })
    }
}

fn peer(text: &str) -> Result<Peer, String> {
    let host = text.parse().map(Peer::Host);
    host.or_else(|_| text.parse().map(Peer::Socket))
        .map_err(|_| format!("peer={text}: neither an IP address nor IP:PORT"))
}

/// JSON: how many match, those of them that come first, and the number to go on after.
pub async fn connections(sources: &Sources, filter: &Filter) -> String {
    let (mut total, mut listed, mut last) = (0usize, 0usize, None);
    let mut text = String::from("{\"connections\":[");
    let mut walk = Walk::new(sources, filter.after);
    while let Some(info) = walk.next().await {
        if !filter.takes(&info) {
            continue;
        }
        total += 1;
        if listed < filter.limit {
            if listed > 0 {
                text.push(',');
            }
            text.push_str(&describe(&info));
            listed += 1;
            last = Some(info.id);
        }
    }
    let next = last.filter(|_| listed < total);
    let rest = json!({ "total": total, "next": next }).to_string();
    text.push_str("],");
    text.push_str(rest.trim_start_matches('{'));
    text
}

fn describe(info: &Info) -> String {
    let session = &info.session;
    let [path_up, path_down] = info.paths();
    json!({
        "id": info.id,
        "peer": info.peer.map(|peer| peer.to_string()),
        "listener": &*info.listener,
        "identity": info.identity(),
        "sni": session.sni,
        "alpn": session.alpn,
        "version": session.version.to_string(),
        "suite": session.suite,
        "group": session.group,
        "resumed": session.resumed,
        "backend": &*info.backend,
        "server": info.server.to_string(),
        "path_up": path_up,
        "path_down": path_down,
        "fallback": info.path().fallback(),
        "bytes_up": info.traffic.up.value(),
        "bytes_down": info.traffic.down.value(),
        "age_seconds": info.accepted.elapsed().as_secs_f64(),
    })
    .to_string()
}

/// Goes through the connections of all threads by number.
struct Walk<'s> {
    sources: &'s Sources,
    /// Of one thread each, the next one last.
    pieces: Vec<Piece>,
    looked: usize,
}

struct Piece {
    ahead: Vec<std::sync::Arc<Info>>,
    after: u64,
    /// There is nothing behind what is ahead.
    is_last: bool,
}

impl<'s> Walk<'s> {
    fn new(sources: &'s Sources, after: u64) -> Self {
        let piece = |_: &_| Piece {
            ahead: Vec::new(),
            after,
            is_last: false,
        };
        Walk {
            sources,
            pieces: sources.shared.relays.iter().map(piece).collect(),
            looked: 0,
        }
    }

    async fn next(&mut self) -> Option<std::sync::Arc<Info>> {
        for (relay, piece) in self.sources.shared.relays.iter().zip(&mut self.pieces) {
            if !piece.ahead.is_empty() || piece.is_last {
                continue;
            }
            piece.ahead = relay.live_after(piece.after, limits::CONNECTIONS_PER_LOOK);
            piece.is_last = piece.ahead.len() < limits::CONNECTIONS_PER_LOOK;
            if let Some(last) = piece.ahead.last() {
                piece.after = last.id;
            }
            piece.ahead.reverse();
        }
        self.looked += 1;
        if self.looked.is_multiple_of(limits::CONNECTIONS_PER_LOOK) {
            tokio::task::yield_now().await;
        }
        let pieces = self.pieces.iter_mut();
        let first = pieces
            .filter(|piece| !piece.ahead.is_empty())
            .min_by_key(|piece| piece.ahead.last().map(|info| info.id))?;
        first.ahead.pop()
    }
}

/// `%2F` becomes `/` (RFC 3986, section 2.1); what is no such triple stays.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let pair = tail
            .get(..2)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        let value = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match value {
            Some(value) if first == b'%' => {
                bytes.push(value);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_and_its_limit_bounded() {
        let filter = Filter::parse("identity=spiffe%3A%2F%2Fa&listener=edge&limit=99999999");
        let filter = filter.ok().unwrap();
        assert_eq!(filter.identity.as_deref(), Some("spiffe://a"));
        assert_eq!(filter.listener.as_deref(), Some("edge"));
        assert_eq!(filter.limit, limits::CONNECTIONS_LISTED_MAX);
        let filter = Filter::parse("peer=%5B::1%5D:443&after=7").ok().unwrap();
        let socket = "[::1]:443".parse().unwrap();
        assert_eq!((filter.peer, filter.after), (Some(Peer::Socket(socket)), 7));
        for wrong in ["limit=x", "peer=x", "path=x", "after=-1", "age=1"] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(unescape("%zz%4"), "%zz%4");
    }
}
