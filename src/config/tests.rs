use super::*;
#[test] fn t(){ for f in ["axbridge","bench","demo"] { let r=load(Path::new(&format!("/work/main/etc/{f}.toml"))); match r {Ok(c)=>println!("{:?}",c.settings.listeners),Err(e)=>for e in e {println!("{e}")}} }
 for t in ["a = [1,\nb=2\n","[sip]\nlisten = udp\nx = \"abc\ny = 'abc\n[sip]\n[[trunk\nfoo\nbar=\n=3\n\"a\nq = {a=1\nz=3\n","a=\"\\q\"\nb=01\nc=1e\n[x\ny]\n","a.b=1\n[a]\nb=2\n", "sources = \"a\"\n\u{0}"] { println!("---"); let (_,e)=toml::de::DeTable::parse_recoverable(t); for e in e {println!("{:?} {}",e.span(),e.message())} for c in parse(t,Path::new("x")).unwrap_err() {println!("  {c}")} }
}
