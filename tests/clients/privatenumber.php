<?php
// A client of the privacy-number API, as a customer of PHP would have it: file_get_contents, and nothing to install.
//
//     $client = new PrivateNumber('https://127.0.0.1:18443', 'my-app', 'my-secret');
//     $answer = $client->bindAxb(['callerNum' => '+8613800000001', 'calleeNum' => '+8613900000002']);
//     $answer->status; $answer->body['resultcode']; $answer->body['relationNum'];

declare(strict_types=1);

/** What came back. */
final class Answer
{
    /** The body's JSON; null where it is none. */
    public readonly mixed $body;

    /** @param array<string, string> $headers by name in small letters */
    public function __construct(public readonly int $status, public readonly array $headers, public readonly string $raw)
    {
        $this->body = json_decode($raw, true);
    }

    public function code(): ?string
    {
        return is_array($this->body) && is_string($this->body['resultcode'] ?? null) ? $this->body['resultcode'] : null;
    }

    public function __toString(): string
    {
        return "HTTP $this->status $this->raw";
    }
}

/** One app of one platform. */
final class PrivateNumber
{
    public const AXB = '/rest/caas/relationnumber/partners/v1.0';
    public const AX = '/rest/provision/caas/privatenumber/v1.0';
    public const AX_CALLEE = '/rest/caas/privatenumber/calleenumber/v1.0';
    public const AXE = '/rest/caas/extendnumber/v1.0';
    public const RECORD = '/rest/provision/voice/record/v1.0';
    public const CALL_STOP = '/rest/httpsessions/callStop/v2.0';

    public function __construct(
        private string $url,
        public readonly string $key,
        public readonly string $secret,
        public readonly string $generation = 'WSSE',
    ) {
        $this->url = rtrim($url, '/');
    }

    public static function digest(string $generation, string $secret, string $nonce, string $created): string
    {
        return base64_encode($generation === 'WSSE'
            ? hash('sha256', $nonce . $created . $secret, true)
            : hash_hmac('sha256', $nonce . $created, $secret, true));
    }

    /** The headers of a request, by name. */
    public function headers(?string $secret = null, ?string $nonce = null, ?string $created = null): array
    {
        $nonce ??= uniqid();
        $created ??= gmdate('Y-m-d\TH:i:s\Z');
        $digest = self::digest($this->generation, $secret ?? $this->secret, $nonce, $created);
        return [
            'Accept' => 'application/json',
            'Content-Type' => 'application/json;charset=UTF-8',
            'Authorization' => $this->generation . ' realm="SDP",profile="UsernameToken",type="Appkey"',
            'X-' . $this->generation =>
                "UsernameToken Username=\"$this->key\",PasswordDigest=\"$digest\",Nonce=\"$nonce\",Created=\"$created\"",
        ];
    }

    /** One request. `$content` is an array, which becomes JSON, or the bytes themselves. */
    public function request(
        string $method,
        string $path,
        array $query = [],
        array|string|null $content = null,
        ?array $headers = null,
    ): Answer {
        $lines = [];
        foreach ($headers ?? $this->headers() as $name => $value) {
            $lines[] = "$name: $value";
        }
        $http = [
            'method' => $method,
            'header' => $lines,
            'ignore_errors' => true,
            'follow_location' => 0,
            'timeout' => 20,
        ];
        if ($content !== null) {
            $http['content'] = is_array($content) ? json_encode($content) : $content;
        }
        // The platform's certificate may be anybody's, as in the official demos.
        $context = stream_context_create(['http' => $http, 'ssl' => ['verify_peer' => false, 'verify_peer_name' => false]]);
        $url = $this->url . $path . ($query ? '?' . http_build_query($query) : '');
        $raw = file_get_contents($url, false, $context);
        if ($raw === false) {
            throw new RuntimeException("no answer from $url");
        }
        $told = [];
        foreach (array_slice($http_response_header, 1) as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => ''];
            $told[strtolower($name)] = trim($value);
        }
        return new Answer((int) explode(' ', $http_response_header[0])[1], $told, $raw);
    }

    // A and B, both hidden behind X.

    public function bindAxb(array $fields): Answer
    {
        return $this->request('POST', self::AXB, content: $fields);
    }

    public function unbindAxb(array $which): Answer
    {
        return $this->request('DELETE', self::AXB, $which);
    }

    public function modifyAxb(array $fields): Answer
    {
        return $this->request('PUT', self::AXB, content: $fields);
    }

    public function queryAxb(array $which): Answer
    {
        return $this->request('GET', self::AXB, $which);
    }

    // A alone behind X.

    public function bindAx(array $fields): Answer
    {
        return $this->request('POST', self::AX, content: $fields);
    }

    public function unbindAx(array $which): Answer
    {
        return $this->request('DELETE', self::AX, $which);
    }

    public function modifyAx(array $fields): Answer
    {
        return $this->request('PUT', self::AX, content: $fields);
    }

    public function queryAx(array $which): Answer
    {
        return $this->request('GET', self::AX, $which);
    }

    /** Whom A reaches by dialling X, for a minute. */
    public function setCallee(array $fields): Answer
    {
        return $this->request('PUT', self::AX_CALLEE, content: $fields);
    }

    // A behind X and an extension.

    public function bindAxe(array $fields): Answer
    {
        return $this->request('POST', self::AXE, content: $fields);
    }

    public function unbindAxe(array $which): Answer
    {
        return $this->request('DELETE', self::AXE, $which);
    }

    public function modifyAxe(array $fields): Answer
    {
        return $this->request('PUT', self::AXE, content: $fields);
    }

    public function queryAxe(array $which): Answer
    {
        return $this->request('GET', self::AXE, $which);
    }

    // Calls.

    /** Where a recording can be fetched: 301, and the address in `Location`. */
    public function recordLink(array $which): Answer
    {
        return $this->request('GET', self::RECORD, $which);
    }

    public function stopCall(array $fields): Answer
    {
        return $this->request('POST', self::CALL_STOP, content: $fields);
    }
}
