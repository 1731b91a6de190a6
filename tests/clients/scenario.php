#!/usr/bin/env php
<?php
// Walks the customers' API with privatenumber.php: one line for each step, and exit code 1 at the first difference from what
// the API's documentation says. Takes away what it has bound, also after a difference.
//
// It may run again and again, and beside another client that has another --area: there each app needs five X that nobody
// holds.

declare(strict_types=1);

require __DIR__ . '/privatenumber.php';

// A broken connection, a missing field: each is a difference.
set_error_handler(static function (int $level, string $message, string $file, int $line): never {
    throw new ErrorException($message, 0, $level, $file, $line);
});

const FOREIGN_X = '+8613700000001';
const NO_SUCH_ID = '00000000-0000-0000-0000-000000000001';
const AXB_BOUND = ['subscriptionId', 'relationNum', 'callDirection', 'duration', 'maxDuration'];
const AX_BOUND = ['origNum', 'privateNum', 'subscriptionId'];
const AXE_BOUND = ['subscriptionId', 'virtualNum', 'extendNum'];

// What the documentation says to a code.
const TEXTS = [
    '0' => 'Success',
    '1010003' => 'Invalid app_key.',
    '1010040' => 'The app_key is not allowed to invoke the API.',
    '1012001' => 'Resource of number is not to be applied.',
    '1012008' => 'Insufficient number of resources.',
    '1016001' => 'The record does not exist.',
    '1016002' => 'The record already exists.',
    '1023006' => 'Authorization not contained in the HTTP header.',
    '1023007' => 'realm not contained in Authorization.',
    '1023008' => 'profile not contained in Authorization.',
    '1023009' => 'The value of realm in Authorization must be SDP.',
    '1023010' => 'The value of profile in Authorization must be UsernameToken.',
    '1023011' => 'The value of type in Authorization must be app_key.',
    '1023012' => 'type not contained in Authorization.',
    '1023033' => 'HTTP header not found X-AKSK field.',
];

/** The platform has done something else than the documentation says. */
final class Difference extends Exception
{
}

function want(bool $holds, string $message): void
{
    if (!$holds) {
        throw new Difference($message);
    }
}

function same(string $what, mixed $got, mixed $wanted): void
{
    want($got === $wanted, "$what: " . json_encode($got) . ', wanted ' . json_encode($wanted));
}

function holds(array $body, array $fields): void
{
    foreach ($fields as $name => $wanted) {
        same($name, $body[$name] ?? '', $wanted);
    }
}

function well_formed(Answer $answer): void
{
    want(is_array($answer->body), "the body is no JSON object: $answer");
    want(str_starts_with($answer->headers['content-type'] ?? '', 'application/json'), "no JSON by its header: $answer");
    want($answer->code() !== null, "resultcode is no string: $answer");
    $text = $answer->body['resultdesc'] ?? null;
    want(is_string($text) && $text !== '' && strlen($text) <= 256, "resultdesc is no string of 1-256: $answer");
    want(($wanted = TEXTS[$answer->code()] ?? $text) === $text, "$wanted is documented: $answer");
}

/** A success; `$exactly` these fields beside resultcode and resultdesc, some with the values of `$fields`. */
function success(Answer $answer, ?array $exactly = null, array $fields = []): array
{
    well_formed($answer);
    // As clients compare, by value and by text.
    want($answer->status === 200 && $answer->body['resultcode'] == 0 && $answer->code() === '0', "no success: $answer");
    if ($exactly !== null) {
        $extra = array_values(array_diff(array_keys($answer->body), ['resultcode', 'resultdesc']));
        sort($extra);
        sort($exactly);
        want($extra === $exactly, 'fields ' . implode(', ', $extra) . ', wanted ' . implode(', ', $exactly));
    }
    holds($answer->body, $fields);
    return $answer->body;
}

/** A refusal. `$code` null: the documentation has none for it. `$names`: what the text must speak of. */
function refused(Answer $answer, int $status, ?string $code, string $names = ''): void
{
    well_formed($answer);
    want($answer->status === $status, "HTTP $status is documented: $answer");
    want($answer->code() !== '0', "a refusal with the code of success: $answer");
    want($code === null || $answer->code() === $code, "$code is documented: $answer");
    want(str_contains($answer->body['resultdesc'], $names), "the text does not name $names: $answer");
}

function malformed(Answer $answer, string $parameter): void
{
    refused($answer, 400, '1010002', $parameter);
}

final class Story
{
    public readonly PrivateNumber $axb;
    public readonly PrivateNumber $ax;
    public readonly PrivateNumber $axe;
    public int $steps = 0;
    public string $step = '';
    public readonly int $run;
    /** @var array<string, Closure> what is bound, and how it is unbound */
    public array $held = [];
    private int $numbers = 0;

    /** @param array<string, string> $options */
    public function __construct(public readonly array $options)
    {
        $client = fn (string $key): PrivateNumber =>
            new PrivateNumber($options['url'], $key, $options['secret'], $options['generation']);
        $this->axb = $client($options['key-axb']);
        $this->ax = $client($options['key-ax']);
        $this->axe = $client($options['key-axe']);
        $this->run = random_int(0, 99999);
    }

    public function step(string $name, Closure $does): void
    {
        $this->step = $name;
        $does();
        printf("ok %3d %s\n", ++$this->steps, $name);
    }

    /** A number that no other client uses, nor any other step. */
    public function mobile(): string
    {
        $this->numbers++;
        return sprintf('+86%d%05d%03d', 136 + $this->numbers % 2, $this->run, $this->numbers);
    }

    public function fixedLine(string $area): string
    {
        return sprintf('+86%s7%05d%02d', substr($area, 1), $this->run, ++$this->numbers % 100);
    }

    public function isIn(string $x, string $area): void
    {
        want(str_starts_with($x, '+86' . substr($area, 1)), "X $x is not in $area");
    }

    public function bindAxb(array $fields): Answer
    {
        return $this->hold($this->axb->unbindAxb(...), $this->axb->bindAxb($fields));
    }

    /** Waits a while for an X that another client holds for a moment. */
    public function bindAx(array $fields): Answer
    {
        for ($turn = 0; ; $turn++) {
            $answer = $this->hold($this->ax->unbindAx(...), $this->ax->bindAx($fields));
            if ($turn === 40 || !in_array($answer->code(), ['1011002', '1011005'], true)) {
                return $answer;
            }
            usleep(50_000);
        }
    }

    public function bindAxe(array $fields): Answer
    {
        return $this->hold($this->axe->unbindAxe(...), $this->axe->bindAxe($fields));
    }

    /** Remembers what is bound, so that nothing is left. */
    public function hold(Closure $unbind, Answer $answer): Answer
    {
        if (is_array($answer->body) && isset($answer->body['subscriptionId'])) {
            $this->held[$answer->body['subscriptionId']] = $unbind;
        }
        return $answer;
    }

    /** By its id, which must work. */
    public function unbind(string $subscription): void
    {
        $unbind = $this->held[$subscription];
        $this->gone($subscription);
        success($unbind(['subscriptionId' => $subscription]), []);
    }

    /** They are unbound already. */
    public function gone(string ...$subscriptions): void
    {
        foreach ($subscriptions as $subscription) {
            unset($this->held[$subscription]);
        }
    }

    public function cleanUp(): void
    {
        foreach ($this->held as $subscription => $unbind) {
            $unbind(['subscriptionId' => (string) $subscription]);
        }
        $this->held = [];
    }

    /** Looks again for a while: another client's loose allocation may pass by on any X. */
    public function quietly(Closure $look): void
    {
        for ($turn = 0; ; $turn++) {
            try {
                $look();
                return;
            } catch (Difference $difference) {
                if ($turn === 20) {
                    throw $difference;
                }
                usleep(100_000);
            }
        }
    }

    /** A loose allocation may be on another client's X, who may take it away with all of them. */
    public function letGo(string $subscription): void
    {
        ($this->held[$subscription])(['subscriptionId' => $subscription]);
        $this->gone($subscription);
    }

    public function axbIs(string $subscription, array $fields): void
    {
        $body = success($this->axb->queryAxb(['subscriptionId' => $subscription]), null, ['totalCount' => 1]);
        same('bindings', count($body['relationNumList']), 1);
        holds($body['relationNumList'][0], ['subscriptionId' => $subscription] + $fields);
    }

    public function axIs(array $which, array $fields): void
    {
        $body = success($this->ax->queryAx($which));
        same('bindings', count($body['privateNumList']), 1);
        holds($body['privateNumList'][0], $fields);
    }

    public function axeIs(string $subscription, array $fields): void
    {
        success($this->axe->queryAxe(['subscriptionId' => $subscription]), null,
            ['subscriptionId' => $subscription] + $fields);
    }
}

// ---- AXB ------------------------------------------------------------------------------------------------------------

function axb(Story $story): void
{
    $axb = $story->axb;
    $area = $story->options['area'];
    $empty = $story->options['empty-area'];
    [$a, $b, $c, $d] = [$story->mobile(), $story->mobile(), $story->mobile(), $story->mobile()];
    [$first, $second, $x] = ['', '', ''];

    $story->step('AXB: A and B get an X of the area', function () use ($story, $area, $a, $b, &$first, &$x) {
        $bound = success($story->bindAxb(['callerNum' => $a, 'calleeNum' => $b, 'areaCode' => $area]), AXB_BOUND,
            ['callDirection' => 0, 'duration' => 0, 'maxDuration' => 0]);
        [$first, $x] = [$bound['subscriptionId'], $bound['relationNum']];
        $story->isIn($x, $area);
        $story->axbIs($first, ['callerNum' => $a, 'calleeNum' => $b, 'relationNum' => $x]);
    });

    $story->step('AXB: another pair on the same X', function () use ($story, $axb, $c, $d, $x, &$second) {
        $second = success($story->bindAxb(['callerNum' => $c, 'calleeNum' => $d, 'relationNum' => $x]), AXB_BOUND,
            ['relationNum' => $x])['subscriptionId'];
        $body = success($axb->queryAxb(['relationNum' => $x, 'callerNum' => $c]), null, ['totalCount' => 1]);
        holds($body['relationNumList'][0], ['subscriptionId' => $second]);
    });

    $story->step('AXB: a number occurs once only on an X (1012010)', function () use ($story, $a, $b, $c, $x) {
        $e = $story->mobile();
        foreach ([[$a, $e], [$e, $a], [$b, $e], [$e, $b], [$a, $b], [$a, $c]] as [$caller, $callee]) {
            refused($story->bindAxb(['callerNum' => $caller, 'calleeNum' => $callee, 'relationNum' => $x]), 403, '1012010');
        }
        $body = success($story->bindAxb(['callerNum' => $a, 'calleeNum' => $e, 'areaCode' => $area = $story->options['area']]));
        $story->isIn($body['relationNum'], $area);
        want($body['relationNum'] !== $x, "A twice on $x");
        $story->unbind($body['subscriptionId']);
    });

    $story->step('AXB: transfer by one modify; what it does not name stays', function () use ($story, $axb, $a, $b, &$first, $x) {
        [$a1, $b1] = [$story->mobile(), $story->mobile()];
        success($axb->modifyAxb(['subscriptionId' => $first, 'calleeNum' => $b1]), []);
        $story->axbIs($first, ['callerNum' => $a, 'calleeNum' => $b1, 'relationNum' => $x]);
        $freed = success($story->bindAxb(['callerNum' => $b, 'calleeNum' => $story->mobile(), 'relationNum' => $x]));
        $story->unbind($freed['subscriptionId']);
        $changes = ['callerNum' => $a1, 'callDirection' => 2, 'duration' => 600, 'maxDuration' => 3, 'privateSms' => 'false',
            'recordFlag' => 'true', 'lastMinVoice' => 'last.wav', 'userData' => 'order-2',
            'preVoice' => ['calleeHintTone' => 'b.wav', 'callerHintTone' => 'a.wav']];
        success($axb->modifyAxb(['subscriptionId' => $first] + $changes), []);
        $story->axbIs($first, ['calleeNum' => $b1, 'relationNum' => $x] + $changes);
    });

    $story->step('AXB: a refused modify changes nothing', function () use ($story, $axb, $d, &$first) {
        refused($axb->modifyAxb(['subscriptionId' => $first, 'callerNum' => $d, 'maxDuration' => 4]), 403, '1012010');
        malformed($axb->modifyAxb(['subscriptionId' => $first, 'maxDuration' => 1441, 'callDirection' => 0]), 'maxDuration');
        $story->axbIs($first, ['maxDuration' => 3, 'callDirection' => 2]);
        refused($axb->modifyAxb(['subscriptionId' => NO_SUCH_ID, 'maxDuration' => 4]), 403, '1012007');
        malformed($axb->modifyAxb(['maxDuration' => 4]), 'subscriptionId');
    });

    $story->step('AXB: a binding ends by its duration', function () use ($story, $axb, $x) {
        $short = success($story->bindAxb(['callerNum' => $story->mobile(), 'calleeNum' => $story->mobile(),
            'relationNum' => $x, 'duration' => 1]), AXB_BOUND, ['duration' => 1])['subscriptionId'];
        usleep(2_500_000);
        refused($axb->queryAxb(['subscriptionId' => $short]), 403, '1012007');
        $story->gone($short);
    });
    $story->unbind($first);
    $story->unbind($second);

    $story->step('AXB: strict and loose allocation', function () use ($story, $area, $empty) {
        $parties = ['callerNum' => $story->mobile(), 'calleeNum' => $story->mobile()];
        refused($story->bindAxb($parties + ['areaCode' => $empty]), 403, '1012008');
        refused($story->bindAxb($parties + ['areaCode' => $empty, 'areaMatchMode' => '0']), 403, '1012008');
        foreach (['1', 1] as $loose) {
            $body = success($story->bindAxb($parties + ['areaCode' => $empty, 'areaMatchMode' => $loose]), AXB_BOUND);
            $story->letGo($body['subscriptionId']);
        }
        $own = success($story->bindAxb(['callerNum' => $story->fixedLine($area)] + $parties));
        $story->isIn($own['relationNum'], $area);
        $story->unbind($own['subscriptionId']);
        refused($story->bindAxb(['callerNum' => $story->fixedLine($empty)] + $parties), 403, '1012008');
        refused($story->bindAxb($parties + ['relationNum' => FOREIGN_X]), 403, '1012001');
    });

    $story->step('AXB: strings or booleans; unknown fields are ignored', function () use ($story, $area) {
        foreach ([['true', 'false'], [true, false]] as [$on, $off]) {
            $one = success($story->bindAxb(['callerNum' => $story->mobile(), 'calleeNum' => $story->mobile(),
                'areaCode' => $area, 'recordFlag' => $on, 'privateSms' => $off, 'colour' => ['red' => 1]]), AXB_BOUND);
            $story->axbIs($one['subscriptionId'], ['recordFlag' => 'true', 'privateSms' => 'false']);
            $story->unbind($one['subscriptionId']);
        }
    });

    $story->step('AXB: a parameter that is wrong or missing is named (1010002)', function () use ($story, $axb, $area) {
        $good = ['callerNum' => $story->mobile(), 'calleeNum' => $story->mobile(), 'areaCode' => $area];
        $wrong = ['callerNum' => '+864008001234', 'calleeNum' => '+8695588', 'callDirection' => 3, 'duration' => 7776001,
            'maxDuration' => 1441, 'recordFlag' => 'perhaps', 'areaMatchMode' => '2', 'userData' => '用户'];
        foreach ($wrong as $name => $value) {
            malformed($story->bindAxb([$name => $value] + $good), $name);
        }
        malformed($story->bindAxb(['callerNum' => $good['callerNum']]), 'calleeNum');
        refused($axb->request('POST', PrivateNumber::AXB, content: '{'), 400, '1010002');
    });

    $story->step('AXB: pages, and unbinding by id, by a JSON body and by X', function () use ($story, $axb, $area) {
        $bound = success($story->bindAxb(['callerNum' => $story->mobile(), 'calleeNum' => $story->mobile(),
            'areaCode' => $area]));
        $x = $bound['relationNum'];
        $mine = [$bound['subscriptionId']];
        for ($pair = 2; $pair <= 11; $pair++) {
            $mine[] = success($story->bindAxb(['callerNum' => $story->mobile(), 'calleeNum' => $story->mobile(),
                'relationNum' => $x]))['subscriptionId'];
        }
        $story->quietly(function () use ($axb, $x, $mine) {
            $found = [];
            foreach ([1 => 10, 2 => 1] as $page => $size) {
                $body = success($axb->queryAxb(['relationNum' => $x, 'pageIndex' => $page, 'pageSize' => 10]), null,
                    ['totalCount' => 11]);
                same("bindings on page $page", count($body['relationNumList']), $size);
                array_push($found, ...array_column($body['relationNumList'], 'subscriptionId'));
            }
            sort($found);
            sort($mine);
            same('subscriptions', $found, $mine);
            same('bindings', count(success($axb->queryAxb(['relationNum' => $x, 'pageSize' => 1]))['relationNumList']), 11);
        });
        $story->unbind($one = array_pop($mine));
        refused($axb->unbindAxb(['subscriptionId' => $one]), 403, null);
        $one = array_pop($mine);
        success($axb->request('DELETE', PrivateNumber::AXB, content: ['subscriptionId' => $one]), []);
        $story->gone($one);
        $one = array_pop($mine);
        success($axb->unbindAxb(['subscriptionId' => $one, 'relationNum' => $x]), []);
        $story->gone($one);
        $story->quietly(fn () => success($axb->queryAxb(['relationNum' => $x]), null, ['totalCount' => 8]));
        success($axb->unbindAxb(['relationNum' => $x]), []);
        foreach ($mine as $one) {
            refused($axb->queryAxb(['subscriptionId' => $one]), 403, '1012007');
        }
        $story->gone(...$mine);
        refused($axb->unbindAxb(['relationNum' => FOREIGN_X]), 403, '1012001');
        refused($axb->unbindAxb([]), 400, '1010002');
    });
}

// ---- AX -------------------------------------------------------------------------------------------------------------

function ax(Story $story): void
{
    $ax = $story->ax;
    [$a, $other] = [$story->mobile(), $story->mobile()];
    $in = fn (string $area): array => ['areaCode' => $area, 'privateNumType' => 'mobile-virtual'];
    $area = $story->options['area'];
    [$one, $x] = ['', ''];

    $story->step('AX: A gets an X of the area', function () use ($story, $a, $in, $area, &$one, &$x) {
        $bound = success($story->bindAx(['origNum' => $a] + $in($area)), AX_BOUND, ['origNum' => $a]);
        [$one, $x] = [$bound['subscriptionId'], $bound['privateNum']];
        $story->isIn($x, $area);
        foreach ([['subscriptionId' => $one], ['origNum' => $a], ['privateNum' => $x]] as $which) {
            $story->axIs($which, ['subscriptionId' => $one, 'origNum' => $a, 'privateNum' => $x]);
        }
    });

    $story->step('AX: what is refused', function () use ($story, $ax, $a, $other, $in, $area, &$x) {
        refused($ax->bindAx(['origNum' => $a, 'privateNum' => $x]), 403, '1016002');
        refused($ax->bindAx(['origNum' => $other, 'privateNum' => $x]), 403, '1011005');
        refused($ax->bindAx(['origNum' => $other, 'privateNum' => FOREIGN_X]), 403, '1011001');
        refused($ax->bindAx(['origNum' => $other] + $in($story->options['empty-area'])), 403, '1011002');
        malformed($ax->bindAx(['origNum' => $other, 'areaCode' => $area]), 'privateNumType');
        malformed($ax->bindAx($in($area)), 'origNum');
        malformed($ax->bindAx(['origNum' => '+8695588'] + $in($area)), 'origNum');
        refused($ax->queryAx(['subscriptionId' => NO_SUCH_ID]), 403, '1016001');
        refused($ax->modifyAx(['subscriptionId' => NO_SUCH_ID, 'maxDuration' => 1]), 403, '1016001');
        refused($ax->unbindAx(['subscriptionId' => NO_SUCH_ID]), 403, '1011004');
        refused($ax->unbindAx(['privateNum' => FOREIGN_X]), 403, '1011004');
        refused($ax->unbindAx([]), 400, '1010002');
    });

    $story->step('AX: modify as the old demos write it, and as the new ones', function () use ($story, $ax, $other, &$one, &$x) {
        success($ax->modifyAx(['origNum' => $other, 'privateNum' => $x, 'privateSms' => true]), []);
        $story->axIs(['subscriptionId' => $one], ['origNum' => $other, 'privateSms' => 'true', 'turnFlag' => 'on']);
        $changes = ['privateSms' => 'false', 'recordFlag' => 'true', 'maxDuration' => 9, 'lastMinVoice' => 'last.wav',
            'userData' => 'user-1', 'callDirection' => 1, 'turnFlag' => 'off'];
        success($ax->modifyAx(['subscriptionId' => $one] + $changes), []);
        $story->axIs(['privateNum' => $x], ['origNum' => $other] + $changes);
    });

    $story->step('AX: temporary callee', function () use ($story, $ax, &$one, &$x) {
        $callee = $story->mobile();
        success($ax->setCallee(['subscriptionId' => $one, 'calleeNum' => $callee]), []);
        success($ax->setCallee(['privateNum' => $x, 'origNum' => 'not read', 'calleeNum' => '+864008001234']), []);
        success($ax->setCallee(['privateNum' => $x, 'calleeNum' => '+8695588', 'duration' => 20, 'userData' => 'c']), []);
        malformed($ax->setCallee(['privateNum' => $x]), 'calleeNum');
        refused($ax->setCallee(['calleeNum' => $callee]), 400, '1010002');
        refused($ax->setCallee(['subscriptionId' => NO_SUCH_ID, 'calleeNum' => $callee]), 403, '1016001');
    });
    $story->unbind($one);

    $story->step('AX: A holds five X and no sixth', function () use ($story, $ax, $a, $in, $area) {
        $mine = [];
        for ($turn = 0; $turn < 5; $turn++) {
            $bound = success($story->bindAx(['origNum' => $a] + $in($area)), AX_BOUND);
            $mine[$bound['subscriptionId']] = $bound['privateNum'];
        }
        same('different X', count(array_unique($mine)), 5);
        refused($ax->bindAx(['origNum' => $a] + $in($story->options['spare-area'])), 403, null, 'upper limit');
        same('bindings', count(success($ax->queryAx(['origNum' => $a]))['privateNumList']), 5);
        foreach (array_keys($mine) as $subscription) {
            $story->unbind($subscription);
        }
    });

    $story->step('AX: unbind by X, with A, by a JSON body; loose allocation', function () use ($story, $ax, $a, $in, &$x) {
        foreach ([fn () => $ax->unbindAx(['privateNum' => $x]), fn () => $ax->unbindAx(['privateNum' => $x, 'origNum' => $a]),
            fn () => $ax->request('DELETE', PrivateNumber::AX, content: ['privateNum' => $x])] as $unbind) {
            $bound = success($story->bindAx(['origNum' => $a, 'privateNum' => $x]), AX_BOUND, ['privateNum' => $x]);
            success($unbind(), []);
            $story->gone($bound['subscriptionId']);
            refused($ax->queryAx(['origNum' => $a]), 403, '1016001');
        }
        $loose = $story->bindAx(['origNum' => $a, 'areaMatchMode' => '1', 'colour' => 'red']
            + $in($story->options['empty-area']));
        $story->unbind(success($loose, AX_BOUND)['subscriptionId']);
    });
}

// ---- AXE ------------------------------------------------------------------------------------------------------------

function axe(Story $story): void
{
    $axe = $story->axe;
    $area = $story->options['area'];
    [$a, $other, $callback] = [$story->mobile(), $story->mobile(), $story->mobile()];
    [$one, $x, $e] = ['', '', ''];

    $story->step('AXE: A gets an X of the area and an extension', function () use ($story, $axe, $a, $area, &$one, &$x, &$e) {
        $bound = success($story->bindAxe(['bindNum' => $a, 'areaCode' => $area]), AXE_BOUND);
        [$one, $x, $e] = [$bound['subscriptionId'], $bound['virtualNum'], $bound['extendNum']];
        $story->isIn($x, $area);
        want(preg_match('/^\d{1,4}$/D', $e) === 1, "no extension of 1-4 digits: $e");
        $told = ['bindNum' => $a, 'virtualNum' => $x, 'extendNum' => $e, 'displayNumMode' => '0', 'recordFlag' => 'false',
            'timeUnit' => '0', 'bindExpiredTime' => 168, 'callbackTone' => '', 'callbackNum' => ''];
        $story->axeIs($one, $told);
        success($axe->queryAxe(['virtualNum' => $x, 'extendNum' => $e]), null, ['subscriptionId' => $one] + $told);
    });

    $story->step('AXE: an extension of the client\'s choice, once only', function () use ($story, $other, $callback, &$x, &$e) {
        $given = ['bindNum' => $other, 'virtualNum' => $x, 'displayNumMode' => '1', 'recordFlag' => 'true', 'timeUnit' => '1',
            'recordHintTone' => 'record.wav', 'bindExpiredTime' => 600, 'callbackExpiredTime' => 30,
            'callbackNum' => $callback, 'userData' => 'user-1'];
        do {
            $chosen = str_pad((string) random_int(1, 10 ** strlen($e) - 1), strlen($e), '0', STR_PAD_LEFT);
            $answer = $story->bindAxe($given + ['extendNum' => $chosen, 'colour' => 'red']);
        } while ($answer->code() === '1012010');
        $bound = success($answer, [...AXE_BOUND, 'userData'], ['extendNum' => $chosen, 'userData' => 'user-1']);
        $story->axeIs($bound['subscriptionId'], $given + ['extendNum' => $chosen, 'callbackTone' => '']);
        foreach ([$chosen, $e] as $taken) {
            refused($story->bindAxe(['bindNum' => $story->mobile(), 'virtualNum' => $x, 'extendNum' => $taken]), 403, '1012010');
        }
        $story->unbind($bound['subscriptionId']);
    });

    $story->step('AXE: integers for enumerations', function () use ($story, $area, $other) {
        $bound = success($story->bindAxe(['bindNum' => $other, 'areaCode' => $area, 'areaMatchMode' => 0, 'recordFlag' => true,
            'displayNumMode' => 1, 'timeUnit' => 0, 'bindExpiredTime' => 720, 'callbackExpiredTime' => 1]), AXE_BOUND);
        $story->axeIs($bound['subscriptionId'], ['recordFlag' => 'true', 'displayNumMode' => '1', 'timeUnit' => '0',
            'bindExpiredTime' => 720, 'callbackExpiredTime' => 1]);
        $story->unbind($bound['subscriptionId']);
    });

    $story->step('AXE: what is refused', function () use ($story, $axe, $area, $other, $callback, &$x) {
        $both = ['callbackTone' => 't.wav', 'callbackNum' => $callback];
        refused($story->bindAxe(['bindNum' => $other, 'areaCode' => $area] + $both), 400, '1010002');
        refused($story->bindAxe(['bindNum' => $other, 'areaCode' => $story->options['empty-area']]), 403, null, 'Insufficient');
        refused($story->bindAxe(['bindNum' => $other, 'virtualNum' => FOREIGN_X]), 403, null);
        foreach (['bindNum' => '+864008001234', 'extendNum' => '12345', 'timeUnit' => '2', 'bindExpiredTime' => 721,
            'displayNumMode' => '2', 'userData' => '{'] as $name => $value) {
            malformed($story->bindAxe([$name => $value] + ['bindNum' => $other, 'virtualNum' => $x]), $name);
        }
        refused($axe->queryAxe(['subscriptionId' => NO_SUCH_ID]), 403, '1016001');
        refused($axe->modifyAxe(['subscriptionId' => NO_SUCH_ID, 'userData' => 'no']), 403, '1016001');
        refused($axe->unbindAxe(['subscriptionId' => NO_SUCH_ID]), 403, '1016001');
    });

    $story->step('AXE: modify', function () use ($story, $axe, $a, $callback, &$one, &$x, &$e) {
        $key = ['virtualNum' => $x, 'extendNum' => $e];
        success($axe->modifyAxe($key + ['callbackNum' => $callback]), []);
        success($axe->modifyAxe(['subscriptionId' => $one, 'userData' => 'user-2']), []);
        $story->axeIs($one, ['bindNum' => $a, 'callbackNum' => $callback, 'callbackTone' => '', 'userData' => 'user-2']);
        success($axe->modifyAxe($key + ['callbackNum' => '', 'callbackTone' => 't.wav']), []);
        $story->axeIs($one, ['callbackNum' => '', 'callbackTone' => 't.wav', 'userData' => 'user-2']);
        success($axe->modifyAxe($key + ['callbackTone' => '']), []);
        $story->axeIs($one, ['callbackNum' => '', 'callbackTone' => '', 'timeUnit' => '0']);
        malformed($axe->modifyAxe($key + ['timeUnit' => '1', 'bindExpiredTime' => 5]), 'callbackExpiredTime');
        $times = ['timeUnit' => '1', 'bindExpiredTime' => 50, 'callbackExpiredTime' => 5];
        success($axe->modifyAxe($key + $times), []);
        $story->axeIs($one, $times);
    });

    $story->step('AXE: unbind by X with extension, and by a JSON body', function () use ($story, $axe, &$one, &$x, &$e) {
        $key = ['virtualNum' => $x, 'extendNum' => $e];
        success($axe->unbindAxe($key), []);
        $story->gone($one);
        refused($axe->unbindAxe($key), 403, '1016001');
        $again = success($story->bindAxe(['bindNum' => $story->mobile()] + $key), AXE_BOUND, $key)['subscriptionId'];
        success($axe->request('DELETE', PrivateNumber::AXE, content: $key), []);
        $story->gone($again);
        refused($axe->queryAxe($key), 403, '1016001');
    });
}

// ---- Calls ----------------------------------------------------------------------------------------------------------

function calls(Story $story): void
{
    $story->step('a recording that nobody made, a call that nobody makes, another mode\'s API', function () use ($story) {
        foreach ([$story->axb, $story->ax, $story->axe] as $client) {
            $which = ['recordDomain' => 'ostor.huawei.com', 'fileName' => '19012309153712050118304.wav'];
            refused($client->recordLink($which), 403, '1012007');
            refused($client->stopCall(['sessionid' => 'nobody', 'signal' => 'call_stop']), 403, null);
        }
        malformed($story->ax->recordLink(['recordDomain' => 'ostor.huawei.com']), 'fileName');
        malformed($story->axe->stopCall(['sessionid' => 'nobody', 'signal' => 'stop']), 'signal');
        refused($story->axb->bindAx(['origNum' => $story->mobile()]), 403, '1010040');
        refused($story->ax->bindAxe(['bindNum' => $story->mobile()]), 403, '1010040');
        refused($story->axe->queryAxb(['subscriptionId' => NO_SUCH_ID]), 403, '1010040');
        same('HTTP status', $story->axe->request('GET', PrivateNumber::AXE . '/more')->status, 404);
    });
}

// ---- Authentication -------------------------------------------------------------------------------------------------

function authentication(Story $story): void
{
    $client = $story->ax;
    $signature = 'X-' . $client->generation;
    // Who is let in learns that there is no such binding.
    $ask = fn (array $headers): Answer =>
        $client->request('GET', PrivateNumber::AX, ['subscriptionId' => NO_SUCH_ID], headers: $headers);
    $in = fn (Answer $answer) => refused($answer, 403, '1016001');

    $story->step('authentication: the digests of the documentation', function () {
        $vector = ['example-app-secret', '66C92B11FF8A425FB8D4CCFE0ED9ED1F', '2018-02-12T15:30:20Z'];
        same('WSSE', PrivateNumber::digest('WSSE', ...$vector), 'MOALP58lp7xmv81VDvkC348H1a2ePYMQzvuTR70W+h8=');
        same('AKSK', PrivateNumber::digest('AKSK', ...$vector), 'cT2yQosKRfqTn/r/6vaPrhHiH2eGlJKoAacxJiLVwwc=');
    });

    $story->step('authentication: both generations; a clock that takes Beijing\'s time for UTC', function () use ($story, $client, $ask, $in) {
        foreach (['WSSE', 'AKSK'] as $generation) {
            $in($ask((new PrivateNumber('', $client->key, $client->secret, $generation))->headers()));
        }
        $in($ask($client->headers(created: gmdate('Y-m-d\TH:i:s\Z', time() + 8 * 3600))));
    });

    $story->step('authentication: what is missing or wrong in Authorization', function () use ($client, $ask) {
        $new = $client->generation === 'AKSK';
        $signature = 'X-' . $client->generation;
        refused($ask(array_diff_key($client->headers(), ['Authorization' => 0])), 400, '1023006');
        refused($ask(array_diff_key($client->headers(), [$signature => 0])), 400, $new ? '1023033' : null, $signature);
        foreach ([
            ['realm="SDP",', '', '1023007'], [',profile="UsernameToken"', '', '1023008'], ['SDP', 'sdp2', '1023009'],
            ['"UsernameToken"', '"Token"', '1023010'], ['"Appkey"', '"Apikey"', '1023011'],
            [',type="Appkey"', '', '1023012'],
        ] as [$old, $instead, $code]) {
            $headers = $client->headers();
            $headers['Authorization'] = str_replace($old, $instead, $headers['Authorization']);
            refused($ask($headers), 400, $code);
        }
    });

    $story->step('authentication: what is missing in the token', function () use ($client, $ask, $signature) {
        $codes = ['Username' => '1023034', 'Nonce' => '1023035', 'Created' => '1023036', 'PasswordDigest' => '1023037'];
        foreach ($codes as $part => $code) {
            $headers = $client->headers();
            $headers[$signature] = preg_replace("/$part=\"[^\"]*\",?/", '', $headers[$signature]);
            refused($ask($headers), 400, $client->generation === 'AKSK' ? $code : null, $signature);
        }
    });

    $story->step('authentication: nobody\'s app_key', function () use ($story, $client, $ask) {
        $answer = $ask((new PrivateNumber('', "nobody-$story->run", $client->secret, $client->generation))->headers());
        want(in_array($answer->status, [400, 403], true), "HTTP 400 or 403 is documented: $answer");
        refused($answer, $answer->status, '1010003');
    });

    // One a run: after a few the platform locks the address out (1020176).
    $story->step('authentication: a wrong digest', function () use ($client, $ask) {
        refused($ask($client->headers(secret: 'wrong')), 403, null);
    });

    $story->step('authentication: a nonce that has been used', function () use ($client, $ask, $in) {
        $headers = $client->headers();
        $in($ask($headers));
        $answer = $ask($headers);
        refused($answer, 403, null);
        want($answer->code() !== '1016001', "let in twice: $answer");
    });
}

// ---- The story ------------------------------------------------------------------------------------------------------

$options = getopt('', ['url:', 'key-axb:', 'key-ax:', 'key-axe:', 'secret:', 'generation:', 'area:', 'spare-area:',
    'empty-area:'], $rest) + [
    'url' => '', 'key-axb' => 'bench-axb', 'key-ax' => 'bench-ax', 'key-axe' => 'bench-axe', 'secret' => 'bench-secret',
    'generation' => 'WSSE', 'area' => '010', 'spare-area' => '021', 'empty-area' => '0571'];
if ($rest !== $argc || $options['url'] === '' || !in_array($options['generation'], ['WSSE', 'AKSK'], true)) {
    fwrite(STDERR, "usage: scenario.php --url=URL [--key-axb=KEY] [--key-ax=KEY] [--key-axe=KEY] [--secret=SECRET]"
        . " [--generation=WSSE|AKSK] [--area=CODE] [--spare-area=CODE] [--empty-area=CODE]\n");
    exit(2);
}
$story = new Story($options);
$failed = false;
try {
    foreach (['axb', 'ax', 'axe', 'calls', 'authentication'] as $part) {
        $part($story);
    }
    $story->step('nothing is left', fn () => want($story->held === [], 'still bound: ' . implode(', ', array_keys($story->held))));
} catch (Throwable $difference) {
    $told = $difference instanceof Difference ? $difference->getMessage() : (string) $difference;
    fwrite(STDERR, 'DIFFERENT at step ' . ($story->steps + 1) . " ($story->step): $told\n");
    $failed = true;
} finally {
    $story->cleanUp();
}
if ($failed) {
    exit(1);
}
echo "$story->steps steps, {$options['generation']}, {$options['url']}: as documented\n";
