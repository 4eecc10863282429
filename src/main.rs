//! temporary
fn main() {
    let sources = tollgate::config::Sources { file: std::env::args().nth(1).map(Into::into), ..Default::default() };
    let loaded = match tollgate::config::load(&sources) { Ok(l) => l, Err(f) => { eprintln!("{f}"); std::process::exit(1) } };
    let settings = loaded.settings;
    let (sink, writer) = tollgate::observe::LogSink::start(std::io::stdout()).unwrap();
    tollgate::observe::init_events(sink.clone(), &settings.log.level, settings.log.json).unwrap();
    let running = tollgate::server::start(settings, tollgate::clock::Clock::system(), Some(sink)).unwrap();
    eprintln!("{:?}", running.addresses());
    let totals = tollgate::server::until_signalled(running).unwrap();
    eprintln!("{totals:?}");
    let _ = writer;
}
