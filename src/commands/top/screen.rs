//! Draws the view. As much as fits; the figures first.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Paragraph, Row, Sparkline, Table},
};
use serde_json::Value;

use super::view::{KINDS, Latency, Rates, View};
use crate::commands::remote::words;

const GOOD: Style = Style::new().fg(Color::Green);
const WARNING: Style = Style::new().fg(Color::Yellow);
const BAD: Style = Style::new().fg(Color::Red);

pub fn draw(frame: &mut Frame<'_>, view: &View) {
    let now = words::now();
    let [head, figures, history, lists, foot] = Layout::vertical([
        Constraint::Length(3),
        Constraint::Length(10),
        Constraint::Length(4),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(heading(view, now)), head);

    let thirds = Layout::horizontal([Constraint::Fill(1); 3]).spacing(1);
    let [left, middle, right] = thirds.areas(figures);
    frame.render_widget(boxed(" Connections ", connections(view)), left);
    frame.render_widget(
        boxed(" Latency and bytes ", latency_and_bytes(view)),
        middle,
    );
    frame.render_widget(boxed(" Paths and failures ", paths(view)), right);

    let halves = Layout::horizontal([Constraint::Fill(1); 2]).spacing(1);
    let [left, right] = halves.areas(history);
    sparkline(frame, " Handshakes/s ", view.handshakes.iter(), left);
    sparkline(frame, " Bytes/s ", view.bytes.iter(), right);

    let [left, right] = halves.areas(lists);
    frame.render_widget(backends(view), left);
    frame.render_widget(certificates(view, now), right);

    let interval = words::time(view.interval.as_secs_f64());
    let foot_text = format!(" q: quit   every {interval}");
    frame.render_widget(Paragraph::new(foot_text.dim()), foot);
}

fn heading(view: &View, now: i64) -> Vec<Line<'static>> {
    let title = Line::from(vec![
        "lockgate ".bold(),
        Span::from(format!("at {}  ", view.target)),
    ]);
    let Some(last) = &view.last else {
        let state = match &view.lost {
            Some((why, _)) => {
                Line::styled(format!("no lockgate answers: {why}; trying again"), BAD)
            }
            None => Line::from("asking"),
        };
        return vec![title, state];
    };
    let ready = &last.ready;
    let state = match (&view.lost, ready["draining"].as_bool()) {
        (Some((why, since)), _) => {
            let seconds = i32::try_from(now - since).unwrap_or(i32::MAX);
            let time = words::time(f64::from(seconds));
            Line::styled(format!("GONE for {time}: {why}; trying again"), BAD)
        }
        (None, Some(true)) => Line::styled("draining", WARNING),
        (None, _) => Line::styled("serving", GOOD),
    };
    let reload = match ready["last_reload"]["result"].as_str() {
        None => Span::from("no reload so far"),
        Some("ok") => Span::from("last reload ok"),
        Some(_) => Span::styled("LAST RELOAD REJECTED", BAD),
    };
    let facts = Line::from(vec![
        Span::from(format!("version {}   ", word(&ready["version"]))),
        Span::from(format!("generation {}, ", ready["generation"])),
        reload,
        Span::from(format!("   {}", word(&ready["data_path"]))),
    ]);
    vec![title, state, facts]
}

fn connections(view: &View) -> Vec<Line<'static>> {
    let open = view.last.as_ref().map_or_else(
        || "-".to_owned(),
        |last| format!("{:.0}", last.figures.sum("lockgate_connections_open", &[])),
    );
    let rates = view.rates.as_ref();
    let rate = |of: fn(&Rates) -> f64| rates.map_or_else(|| "-".into(), |rates| rate(of(rates)));
    vec![
        fact("open", open),
        fact("accepted/s", rate(|rates| rates.accepted)),
        fact("handshakes/s", rate(|rates| rates.handshakes)),
        fact("  resumed/s", rate(|rates| rates.resumed)),
        fact("  mutual/s", rate(|rates| rates.mutual)),
        fact("failed/s", rate(|rates| rates.failed)),
        fact("refused/s", rate(|rates| rates.refused)),
    ]
}

fn latency_and_bytes(view: &View) -> Vec<Line<'static>> {
    let rates = view.rates.as_ref();
    let latency = |latency: Option<Latency>| match latency {
        Some(Latency { p50, p99 }) => format!("{}, {}", words::time(p50), words::time(p99)),
        None => "-".to_owned(),
    };
    let bytes = |of: fn(&Rates) -> f64| {
        rates.map_or_else(
            || "-".to_owned(),
            |rates| format!("{}/s", words::bytes(of(rates))),
        )
    };
    let spliced = rates.and_then(|rates| rates.spliced);
    let mut lines = vec![Line::from("p50, p99 of".dim())];
    for (index, kind) in KINDS.into_iter().enumerate() {
        let of_kind = rates.and_then(|rates| *rates.handshake.get(index)?);
        lines.push(fact(&format!("{kind} handshake"), latency(of_kind)));
    }
    let connect = rates.and_then(|rates| rates.connect);
    lines.push(fact("connect", latency(connect)));
    lines.extend([
        fact("up", bytes(|rates| rates.up)),
        fact("down", bytes(|rates| rates.down)),
        fact(
            "spliced",
            spliced.map_or_else(|| "-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        ),
    ]);
    lines
}

/// Which paths new connections take, and why handshakes failed.
fn paths(view: &View) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let Some(last) = &view.last else {
        return lines;
    };
    let totals = last
        .figures
        .by("lockgate_connections_by_path_total", "reason");
    for (reason, total) in totals.into_iter().filter(|(_, total)| *total > 0.0) {
        let name = match reason.as_str() {
            "none" => "kernel",
            reason => reason,
        };
        let rates = view.rates.iter().flat_map(|rates| &rates.paths);
        let now = rates
            .filter(|(known, _)| *known == reason)
            .map(|(_, rate)| *rate);
        let now = now.map(|now| format!("{}/s", rate(now))).next();
        lines.push(fact(
            name,
            format!("{total:.0}  {}", now.unwrap_or_default()),
        ));
    }
    for (reason, count) in view.rates.iter().flat_map(|rates| &rates.failures) {
        lines.push(fact(reason, format!("+{count:.0}")).style(WARNING));
    }
    lines
}

fn sparkline<'v>(
    frame: &mut Frame<'_>,
    title: &'static str,
    history: impl DoubleEndedIterator<Item = &'v f64>,
    area: Rect,
) {
    let width = usize::from(area.width.saturating_sub(2));
    let newest: Vec<f64> = history.rev().take(width).copied().collect();
    let most = newest.iter().copied().fold(1.0, f64::max);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 1000"
    )]
    let heights = newest
        .iter()
        .rev()
        .map(|value| (value / most * 1000.0) as u64);
    let heights: Vec<u64> = heights.collect();
    let line = Sparkline::default().max(1000).data(&heights);
    frame.render_widget(line.block(Block::bordered().title(title)), area);
}

fn backends(view: &View) -> Table<'static> {
    let mut rows = Vec::new();
    let list = view.last.iter().flat_map(|last| last.backends.as_array());
    for backend in list.flatten() {
        for server in backend["servers"].as_array().into_iter().flatten() {
            let is_up = server["up"].as_bool().unwrap_or(true);
            let state = if is_up {
                Span::styled("up", GOOD)
            } else {
                Span::styled("down", BAD)
            };
            rows.push(Row::new(vec![
                Line::from(word(&backend["name"])),
                Line::from(word(&server["address"])),
                Line::from(state),
                Line::from(server["connects"].to_string()),
                Line::from(server["failures"].to_string()),
            ]));
        }
    }
    let widths = [
        Constraint::Max(16),
        Constraint::Fill(1),
        Constraint::Length(5),
        Constraint::Length(9),
        Constraint::Length(8),
    ];
    let titles = Row::new(["backend", "server", "state", "connects", "failures"]);
    let block = Block::bordered().title(" Backends ");
    Table::new(rows, widths).header(titles.dim()).block(block)
}

fn certificates(view: &View, now: i64) -> Table<'static> {
    let rows = view.expiring(now).into_iter().map(|certificate| {
        let style = if certificate.at < now { BAD } else { WARNING };
        Row::new([
            clean(&certificate.subject),
            clean(&certificate.listener),
            words::expiry(certificate.at, now),
        ])
        .style(style)
    });
    let widths = [
        Constraint::Fill(2),
        Constraint::Max(16),
        Constraint::Fill(1),
    ];
    let block = Block::bordered().title(" Certificates that expire within 30 days ");
    Table::new(rows, widths).block(block)
}

fn boxed(title: &'static str, lines: Vec<Line<'static>>) -> Paragraph<'static> {
    Paragraph::new(lines).block(Block::bordered().title(title))
}

fn fact(title: &str, value: String) -> Line<'static> {
    Line::from(vec![
        Span::from(format!("{title:<17} ")).dim(),
        Span::from(value),
    ])
}

fn rate(rate: f64) -> String {
    match rate {
        r if r >= 100.0 => format!("{r:.0}"),
        r => format!("{r:.1}"),
    }
}

fn word(value: &Value) -> String {
    clean(value.as_str().unwrap_or("-"))
}

/// What somebody else has chosen does not move the cursor.
fn clean(text: &str) -> String {
    let shown = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(shown).collect()
}
