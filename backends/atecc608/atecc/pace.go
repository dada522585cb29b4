package atecc

import "time"

// longest is the longest documented execution time in ms for the clock dividers
// M0, M1 and M2 of ChipMode.
var longest = map[byte][3]int{
	opRead:        {5, 5, 5},
	opMAC:         {55, 55, 55},
	opWrite:       {45, 45, 45},
	opGenDig:      {25, 35, 35},
	opNonce:       {20, 20, 20},
	opLock:        {35, 35, 35},
	opRandom:      {23, 23, 23},
	opDeriveKey:   {50, 50, 50},
	opUpdateExtra: {10, 10, 10},
	opCounter:     {25, 25, 25},
	opCheckMac:    {40, 40, 40},
	opInfo:        {5, 5, 5},
	opGenKey:      {115, 215, 653},
	opSign:        {115, 220, 665},
	opECDH:        {75, 172, 531},
	opVerify:      {105, 295, 1085},
	opPrivWrite:   {50, 50, 50},
	opSHA:         {36, 42, 75},
	opAES:         {27, 27, 27},
	opKDF:         {165, 165, 165},
	opSelfTest:    {250, 625, 2324},
	opSecureBoot:  {80, 160, 480},
}

// A pace is what is known about how long one opcode takes on this chip, counted
// from the end of the command to the start of the poll that is answered.
type pace struct {
	known bool
	last  time.Duration
	low   time.Duration // the shortest of the last hundred or so
}

// saw takes note of a command that was answered after d.
func (p *pace) saw(d time.Duration) {
	if !p.known || d < p.low {
		p.low = d
	} else {
		p.low += (d - p.low) / 64
	}
	p.known, p.last = true, d
}

// first is when to poll for the first time: before the shortest time, so that a
// chip that has become faster is noticed.
func (p *pace) first() time.Duration { return p.low * 4 / 5 }

// minGap is the shortest time between two polls. A poll takes 0.11 ms at 100 kHz.
const minGap = 100 * time.Microsecond

// gap is how long to wait at d before the next poll: a fortieth of the time that
// has passed, which bounds the loss by 2.5 %, but less on the way to the moment of
// the last time: one poll falls exactly on it, and those before it close in on
// it, so that a chip that always takes the same is hit to within minGap.
func (p *pace) gap(d time.Duration) time.Duration {
	g := max(d/40, minGap)
	if left := p.last - d; left > 0 {
		if half := left / 2; half >= minGap {
			return min(g, half)
		}
		return left
	}
	return g
}
