use lockgate::config::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let cfg = Config {
        runtime: Runtime { offload: Offload::Auto, handshake_threads: 1, relay_threads: 1, waiter: if a.len()>3 {Waiter::Epoll} else {Waiter::Auto} },
        limits: Limits { connections: 60000, handshake_timeout: lockgate::limits::HANDSHAKE_TIMEOUT, connect_timeout: lockgate::limits::CONNECT_TIMEOUT, idle_timeout: lockgate::limits::IDLE_TIMEOUT, half_closed_timeout: lockgate::limits::HALF_CLOSED_TIMEOUT, lifetime: None, drain_timeout: std::time::Duration::from_secs(3), records_per_key: 1<<23 },
        log: Log { level: "info".into(), format: LogFormat::Text },
        admin: Some(Admin{ listen: Address::Tcp("127.0.0.1:9443".parse().unwrap())}),
        listeners: vec![Listener { name: "edge".into(), listen: vec![Address::Tcp(a[1].parse().unwrap())], backend: "app".into(), min_tls: TlsVersion::Tls12, alpn: vec![], unknown_sni: UnknownSni::Default, certificates: vec![CertificateSource{certificate: Pem::File("/tmp/w/smoke/s.crt".into()), key: Pem::File("/tmp/w/smoke/s.key".into())}], client_auth: ClientAuth::None, on_truncation: OnTruncation::Reset }],
        backends: vec![Backend { name: "app".into(), servers: vec![Server::Address(Address::Tcp(a[2].parse().unwrap()))] }],
    };
    lockgate::logging::start(&cfg.log);
    std::process::exit(if lockgate::commands_run::run(cfg, |_| println!("started"), |_| ()) == std::process::ExitCode::SUCCESS {0} else {1});
}
