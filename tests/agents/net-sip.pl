#!/usr/bin/perl
# A user agent of Perl's Net::SIP: a stack of its own that speaks µ-law alone. It prints what happens, a line each, and
# every message; it takes `dial URI`, `dtmf DIGITS` and `hangup` on its standard input.
#
#   net-sip.pl NUMBER NAME HOST:PORT PLAY HEARD
#
# PLAY is what it says, HEARD what it hears: µ-law without a header, as it comes in RTP.
use strict;
use warnings;
use Net::SIP;
use Net::SIP::Debug;
use Net::SIP::Dispatcher::Eventloop qw(EV_READ);

my ($number, $name, $address, $play, $heard) = @ARGV;
$| = 1;
Net::SIP::Debug->level('Leg=50');

sub say_it { print "agent: @_\n" }

my $call;
my $ua = Net::SIP::Simple->new(
    legs    => [$address],
    from    => "\"$name\" <sip:$number\@$address>",
    contact => "<sip:$number\@$address>",
);
my %media = (
    init_media => $ua->rtp('send_recv', $play, -1, sub {
        my ($payload, undef, undef, undef, $type) = @_;
        # Not the digits, which are no sound.
        if ($type == 0) {
            open(my $file, '>>', $heard) or die "$heard: $!";
            syswrite($file, $payload);
        }
    }),
    recv_bye => sub { say_it('over') },
    cb_dtmf  => sub { say_it("digit $_[0]") },
);
$ua->listen(
    cb_create      => sub { $call = $_[0]; unlink $heard; 1 },
    cb_established => sub { say_it('talking') },
    %media,
);

my %commands = (
    dial => sub {
        unlink $heard;
        $call = $ua->invite("<$_[0]>",
            cb_final => sub {
                my ($result, undef, %more) = @_;
                say_it($result eq 'OK' ? 'talking' : 'refused ' . ($more{code} || 'in silence'));
            },
            %media) or say_it('no call: ' . $ua->error);
    },
    dtmf   => sub { $call->dtmf($_[0], methods => 'rfc2833') },
    hangup => sub { $call->bye(cb_final => sub { say_it('over') }) },
);
my $typed = '';
$ua->{loop}->addFD(\*STDIN, EV_READ, sub {
    sysread(STDIN, $typed, 1024, length $typed) or exit 0;
    while ($typed =~ s/^(\w+) ?(.*)\n//) { $commands{$1}->($2) }
}, 'commands');
say_it('ready');
$ua->loop;
