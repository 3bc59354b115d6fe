#!/usr/bin/env python3
"""Fits the polynomials of kpd.h's >>math and prints them as C, with the largest error of a float32 evaluation.

usage: polynomials.py            needs numpy; the same output on every run

Each is a minimax fit (Lawson's weighted least squares on Chebyshev nodes, double precision), rounded to float32 and
evaluated by Horner's rule with fused multiply-adds, as the header does.
"""
import math
import numpy as np

F = np.float32


def fit(f, lo, hi, degree, weight=lambda x: np.ones_like(x), rounds=400):
    """Coefficients c[0..degree] of the minimax polynomial of f on [lo, hi] for the error (p - f) * weight."""
    n = 4000
    x = (lo + hi) / 2 + (hi - lo) / 2 * np.cos(np.pi * (np.arange(n) + .5) / n)
    y, u, w = f(x), weight(x), np.ones(n)
    t = (2 * x - lo - hi) / (hi - lo)
    A = np.polynomial.chebyshev.chebvander(t, degree)
    for _ in range(rounds):
        s = np.sqrt(w) * u
        c = np.linalg.lstsq(A * s[:, None], y * s, rcond=None)[0]
        e = np.abs((A @ c - y) * u)
        w *= e + 1e-300
        w /= w.sum()
    p = np.polynomial.Polynomial(np.polynomial.chebyshev.cheb2poly(c))
    return p(np.polynomial.Polynomial([-(lo + hi) / (hi - lo), 2 / (hi - lo)])).coef


def fma(a, b, c):
    """Round(a b + c) to float32; the double sum is off by a rounding at most, which these bounds do not resolve."""
    return (np.asarray(a, np.float64) * np.asarray(b, np.float64) + np.asarray(c, np.float64)).astype(F)


def horner(c, x):
    y = np.full_like(x, F(c[-1]))
    for k in c[-2::-1]:
        y = fma(y, x, np.full_like(x, F(k)))
    return y


def show(name, c, note):
    print('static const float %s[%d] = {   // %s' % (name, len(c), note))
    for i in range(0, len(c), 4):
        print('    ' + ', '.join('%sf' % repr(float('%.9g' % F(k))) for k in c[i:i + 4]) + (',' if i + 4 < len(c) else '};'))


erf = np.vectorize(math.erf)


def phi(x):
    return .5 * (1 + erf(x / math.sqrt(2)))


# exp(r) = 1 + r + r^2 q(r), |r| <= ln(2)/2
q = fit(lambda r: np.where(np.abs(r) < 1e-4, .5 + r / 6 + r * r / 24, (np.exp(r) - 1 - r) / np.where(r == 0, 1, r * r)),
        -.3466, .3466, 4, lambda r: r * r)
r = np.linspace(-.3466, .3466, 200001).astype(F)
e = fma(fma(horner(q, r), r, F(1)), r, F(1))
show('kpd__exp_c', q, 'exp(r) = 1 + r (1 + r q(r)), |r| <= ln2/2: relative error %.2g' % np.max(np.abs(e / np.exp(r.astype(float)) - 1)))

# 2^r, |r| <= 1/2, for weights that are rounded to 255ths
p = fit(np.exp2, -.5, .5, 3, lambda r: np.exp2(-r))
r = np.linspace(-.5, .5, 200001).astype(F)
show('kpd__short_exp2_c', p, '2^r, |r| <= 1/2: relative error %.2g' % np.max(np.abs(horner(p, r) / np.exp2(r.astype(float)) - 1)))

# Phi(x) - 1/2 = x p(t), t = 2 x^2 / c^2 - 1, or x^2 where degree and c are small enough for it, |x| <= c
def show_phi(name, c, degree, plain):
    low, high = (0, c * c) if plain else (-1, 1)

    def square(t):
        return np.maximum(t, 0) if plain else c * c * (t + 1) / 2

    def target(t):
        x = np.sqrt(square(t))
        return np.where(x < 1e-3, 1 / math.sqrt(2 * math.pi) * (1 - x * x / 6), (phi(x) - .5) / np.where(x == 0, 1, x))

    p = fit(target, low, high, degree, lambda t: square(t) + .05)
    x = np.linspace(-12, 12, 400001).astype(F)
    xc = np.clip(x, F(-c), F(c))
    t = (xc * xc).astype(F)
    if not plain:
        t = fma(t, F(2 / (c * c)), F(-1))
    g = fma(x * F(1), fma(xc, horner(p, t), F(.5)), F(0))
    d = np.abs(g - x.astype(float) * phi(x.astype(float)))
    show(name, p, 'Phi(x) = .5 + x p(%s), |x| <= c = %g: error of x Phi(x) %.2g'
         % ('x^2' if plain else '2 x^2 / c^2 - 1', c, d.max()))


show_phi('kpd__phi_c', 5.4, 15, False)
show_phi('kpd__short_phi_c', 4, 6, True)

# tanh(x) = x + x^3 s(x^2), |x| <= .625
s = fit(lambda u: np.where(u < 1e-4, -1 / 3 + 2 * u / 15, (np.tanh(np.sqrt(u)) - np.sqrt(u)) / np.where(u == 0, 1, u ** 1.5)), 1e-9, .390625, 4,
        lambda u: u)
x = np.linspace(-.625, .625, 200001).astype(F)
x = x[x != 0]
u = (x * x).astype(F)
y = fma((x * u).astype(F), horner(s, u), x)
show('kpd__tanh_c', s, 'tanh(x) = x + x^3 s(x^2), |x| <= .625: relative error %.2g' % np.max(np.abs(y / np.tanh(x.astype(float)) - 1)))

